"""Kernels of tslrec_min.fused: the element-wise work of a language model's layers, each row by itself.

The caller has checked that the shapes agree. Every element of an output is written.
"""

from cython.parallel cimport prange


cdef extern from "decoder.h" nogil:
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
