/* Attention on prompts that lie end to end and share their first tokens; _llm_kernels.pyx calls it. */
#ifndef TSLREC_ATTENTION_KERNELS_H
#define TSLREC_ATTENTION_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* T tokens: `shared` ones, which every prompt begins with, then the own tokens of each prompt: lengths[b] rows from
 * starts[b] on. Rows of queries, keys and values lie *_row numbers apart, and those of their
 * gradients d_*_row; all other arrays are contiguous. */
typedef struct {
    ptrdiff_t heads, kv_heads, width; /* of a head */
    ptrdiff_t shared, n_prompts;
    const int64_t *starts, *lengths;
    ptrdiff_t window, ahead; /* a token sees itself, window - 1 tokens before it and `ahead` after it */
    float scale;
    const float *queries, *keys, *values; /* [T, heads, width], [T, kv_heads, width] twice */
    ptrdiff_t query_row, key_row, value_row;
    float *out;             /* [T, heads, width]; written by the forward pass */
    /* Softmax statistics [T, heads]: the row's largest score, 1 / sum of exp(score - row_max); written, then read. */
    float *row_max, *inverse_sum;
    const float *d_out;     /* this and the rest: the backward pass alone */
    float *d_queries, *d_keys, *d_values;
    ptrdiff_t d_query_row, d_key_row, d_value_row;
    float *shared_parts; /* [n_prompts, kv_heads, 2, shared, width]: what each prompt adds to d_keys and d_values */
} attention_args;

/* `workspace`: how many numbers of work space a thread needs where prompts have at most `longest` tokens.
 * A task of the passes is one prompt (n_prompts stands for the shared tokens) and one key head. Its result depends on
 * nothing else. After all tasks of the backward pass comes attention_add_shared, for each of the shared tokens. */
typedef struct {
    ptrdiff_t (*workspace)(ptrdiff_t longest, ptrdiff_t width);
    void (*forward)(const attention_args *args, ptrdiff_t prompt, ptrdiff_t kv_head, float *workspace);
    void (*backward)(const attention_args *args, ptrdiff_t prompt, ptrdiff_t kv_head, float *workspace);
} attention_kernel;

extern const attention_kernel *const attention_kernels[]; /* in the order of INSTRUCTION_SETS in dispatch.h */
void attention_add_shared(const attention_args *args, ptrdiff_t token);

#endif
