"""GGUF: language models between the formats of transformers and llama.cpp.

`names` is the one table of both directions; `reader` and `writer` follow it; `tokenizer` carries the vocabulary
over; `quantization` runs llama.cpp's quantiser and `parity` says how much a conversion has changed.
"""
