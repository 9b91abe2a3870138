"""Embedding engines: prompts in, pooled hidden states out.

An engine turns token ids into the mean of the final hidden states (after the last norm) over each prompt's span.
`llama_engine` is the fast one, `torch_engine` the reference; both share `engine`, which loads neither library.
"""
