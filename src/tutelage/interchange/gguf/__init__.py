"""GGUF, llama.cpp's file format, in and out."""
