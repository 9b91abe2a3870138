"""Kernels of tslrec_min.llm.elementwise, each row by itself, and of tslrec_min.llm.attention.

The caller has checked that the shapes agree. Every element of an output is written.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t

from _dispatch cimport supported_sets


cdef extern from "llm_elementwise.h" nogil:
    void tslrec_gated(const float* gate, const float* up, float* out, Py_ssize_t n, float linear,
                      float cubic) noexcept
    void tslrec_gated_gradient(const float* d_out, const float* gate, const float* up, float* d_gate, float* d_up,
                               Py_ssize_t n, float linear, float cubic) noexcept
    float tslrec_rms_norm(const float* x, const float* weight, float* out, Py_ssize_t n, float eps) noexcept
    void tslrec_rms_norm_gradient(const float* d_out, const float* x, const float* weight, float inverse, float* d_x,
                                  Py_ssize_t n) noexcept
    void tslrec_rotate(const float* x, const float* cosines, const float* sines, float direction, float* out,
                       Py_ssize_t half) noexcept


def rms_norm(const float[:, ::1] states, const float[::1] weight, float eps, float[:, ::1] out,
             float[::1] inverse_rms, int num_threads):
    """Rows of `out` [rows, D]: states / rms(states) * weight, with `eps` added to the mean square."""
    cdef Py_ssize_t row
    for row in prange(states.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        inverse_rms[row] = tslrec_rms_norm(&states[row, 0], &weight[0], &out[row, 0], states.shape[1], eps)


def rms_norm_gradient(const float[:, ::1] d_out, const float[:, ::1] states, const float[::1] weight,
                      const float[::1] inverse_rms, float[:, ::1] d_states, int num_threads):
    """Rows of `d_states` [rows, D] from the gradient of `rms_norm`'s output."""
    cdef Py_ssize_t row
    for row in prange(states.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_rms_norm_gradient(&d_out[row, 0], &states[row, 0], &weight[0], inverse_rms[row], &d_states[row, 0],
                                 states.shape[1])


def gated(const float[:, ::1] gate_up, float linear, float cubic, float[:, ::1] out, int num_threads):
    """Rows of `out` [T, F]: gate * sigmoid(linear * gate + cubic * gate**3) * up; gate_up [T, 2F] has gate first."""
    cdef Py_ssize_t row, width = out.shape[1]
    for row in prange(out.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_gated(&gate_up[row, 0], &gate_up[row, width], &out[row, 0], width, linear, cubic)


def gated_gradient(const float[:, ::1] d_out, const float[:, ::1] gate_up, float linear, float cubic,
                   float[:, ::1] d_gate_up, int num_threads):
    """Rows of `d_gate_up` [T, 2F] from the gradient of `gated`'s output."""
    cdef Py_ssize_t row, width = d_out.shape[1]
    for row in prange(d_out.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        tslrec_gated_gradient(&d_out[row, 0], &gate_up[row, 0], &gate_up[row, width], &d_gate_up[row, 0],
                              &d_gate_up[row, width], width, linear, cubic)


def rotated(const float[:, :, :] heads, const float[:, ::1] cosines, const float[:, ::1] sines, float direction,
            float[:, :, ::1] out, int num_threads):
    """Every head of row t of `heads` [T, H, hd], turned by the angles of row t (their left halves are read).

    Rows and heads may lie any distance apart; a head's elements are next to each other.
    """
    cdef Py_ssize_t row, head
    for row in prange(out.shape[0], nogil=True, schedule='static', num_threads=num_threads):
        for head in range(out.shape[1]):
            tslrec_rotate(&heads[row, head, 0], &cosines[row, 0], &sines[row, 0], direction, &out[row, head, 0],
                          out.shape[2] // 2)


cdef extern from "attention_kernels.h" nogil:
    ctypedef struct attention_args:
        Py_ssize_t heads, kv_heads, width, shared, n_prompts
        const int64_t *starts, *lengths
        Py_ssize_t window, ahead
        float scale
        const float *queries, *keys, *values
        Py_ssize_t query_row, key_row, value_row
        float *out, *row_max, *inverse_sum
        const float* d_out
        float *d_queries, *d_keys, *d_values
        Py_ssize_t d_query_row, d_key_row, d_value_row
        float *shared_parts

    ctypedef struct attention_kernel:
        Py_ssize_t (*workspace)(Py_ssize_t longest, Py_ssize_t width) noexcept nogil
        void (*forward)(const attention_args* args, Py_ssize_t prompt, Py_ssize_t kv_head,
                        float* workspace) noexcept nogil
        void (*backward)(const attention_args* args, Py_ssize_t prompt, Py_ssize_t kv_head,
                         float* workspace) noexcept nogil

    const attention_kernel** attention_kernels
    void attention_add_shared(const attention_args* args, Py_ssize_t token)


def instruction_sets():
    """Return the names of the instruction sets that this CPU has an attention kernel for, the fastest last."""
    return supported_sets()


def workspace_size(int isa, Py_ssize_t longest, Py_ssize_t width):
    """Return how many numbers of work space a thread needs for heads of `width` and up to `longest` tokens."""
    return attention_kernels[isa].workspace(longest, width)


cdef attention_args new_args(const float[:, :, :] queries, const float[:, :, :] keys, const float[:, :, :] values,
                             Py_ssize_t shared, const int64_t[::1] starts, const int64_t[::1] lengths, float scale,
                             Py_ssize_t window, Py_ssize_t ahead, float[:, :, ::1] statistics) noexcept:
    """Collect the arguments that both functions below share; there is at least one token and one prompt."""
    cdef attention_args args
    args.heads, args.kv_heads, args.width = queries.shape[1], keys.shape[1], queries.shape[2]
    args.shared, args.n_prompts, args.scale = shared, starts.shape[0], scale
    args.window, args.ahead = window, ahead
    args.starts, args.lengths = &starts[0], &lengths[0]
    args.queries, args.keys, args.values = &queries[0, 0, 0], &keys[0, 0, 0], &values[0, 0, 0]
    args.query_row = queries.strides[0] // <Py_ssize_t>sizeof(float)
    args.key_row = keys.strides[0] // <Py_ssize_t>sizeof(float)
    args.value_row = values.strides[0] // <Py_ssize_t>sizeof(float)
    args.row_max, args.inverse_sum = &statistics[0, 0, 0], &statistics[1, 0, 0]
    return args


def attention(const float[:, :, :] queries, const float[:, :, :] keys, const float[:, :, :] values, Py_ssize_t shared,
              const int64_t[::1] starts, const int64_t[::1] lengths, float scale, Py_ssize_t window,
              Py_ssize_t ahead, float[:, :, ::1] out, float[:, :, ::1] statistics, float[:, ::1] workspace, int isa):
    """Fill `out` [T, H, d] and `statistics` [2, T, H]: each row's largest score, and 1 / sum of exp(score - largest).

    A token sees itself, window - 1 tokens before it and `ahead` after it.
    Rows of queries [T, H, d], keys and values [T, G, d] may lie any distance apart; what is in a row is contiguous.
    `workspace` [threads, workspace_size] has a row for each thread.
    """
    cdef attention_args args = new_args(queries, keys, values, shared, starts, lengths, scale, window, ahead,
                                        statistics)
    cdef Py_ssize_t task
    cdef int num_threads = <int>workspace.shape[0]
    args.out = &out[0, 0, 0]
    for task in prange((args.n_prompts + 1) * args.kv_heads, nogil=True, schedule='dynamic', chunksize=1,
                       num_threads=num_threads):
        attention_kernels[isa].forward(&args, task // args.kv_heads, task % args.kv_heads, &workspace[threadid(), 0])


def attention_gradient(const float[:, :, ::1] d_out, const float[:, :, :] queries, const float[:, :, :] keys,
                       const float[:, :, :] values, Py_ssize_t shared, const int64_t[::1] starts,
                       const int64_t[::1] lengths, float scale, Py_ssize_t window, Py_ssize_t ahead,
                       float[:, :, ::1] statistics, float[:, :, :] d_queries, float[:, :, :] d_keys,
                       float[:, :, :] d_values, float[::1] shared_parts, float[:, ::1] workspace, int isa):
    """Fill d_queries [T, H, d], d_keys and d_values [T, G, d] from the gradient of `attention`'s output.

    Their rows may lie any distance apart, as those of the queries. `shared_parts` has room for [B, G, 2, P, d]; P may
    be 0, but there is at least one number.
    """
    cdef attention_args args = new_args(queries, keys, values, shared, starts, lengths, scale, window, ahead,
                                        statistics)
    cdef Py_ssize_t task, token
    cdef int num_threads = <int>workspace.shape[0]
    args.d_out, args.shared_parts = &d_out[0, 0, 0], &shared_parts[0]
    args.d_queries, args.d_keys, args.d_values = &d_queries[0, 0, 0], &d_keys[0, 0, 0], &d_values[0, 0, 0]
    args.d_query_row = d_queries.strides[0] // <Py_ssize_t>sizeof(float)
    args.d_key_row = d_keys.strides[0] // <Py_ssize_t>sizeof(float)
    args.d_value_row = d_values.strides[0] // <Py_ssize_t>sizeof(float)
    for task in prange((args.n_prompts + 1) * args.kv_heads, nogil=True, schedule='dynamic', chunksize=1,
                       num_threads=num_threads):
        attention_kernels[isa].backward(&args, task // args.kv_heads, task % args.kv_heads, &workspace[threadid(), 0])
    for token in prange(shared, nogil=True, schedule='static', num_threads=num_threads):
        attention_add_shared(&args, token)
