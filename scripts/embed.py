"""Writes a file's bytes as a C array: embed.py INPUT OUTPUT NAME. String literals, because compilers read them far faster than numbers."""
import sys

source, target, name = sys.argv[1:4]
data = open(source, "rb").read()
with open(target, "w", encoding="ascii") as out:
    out.write(f"#include <stddef.h>\nextern const char {name}[];\nextern const size_t {name}_size;\n")
    out.write(f"const size_t {name}_size = {len(data)};\nconst char {name}[] =\n")
    for at in range(0, len(data), 64):
        out.write('"' + "".join(f"\\{byte:03o}" for byte in data[at : at + 64]) + '"\n')
    out.write(";\n")
