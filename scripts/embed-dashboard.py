"""Writes the built dashboard as C: embed-dashboard.py OUTPUT FILE...: a table of its files (api/dashboard.h), each as it is and as gzip has it.
A name that carries a hash of its content (assets/NAME-HASH.EXT) is for ever; index.html is what every page of the app begins with."""
import gzip
import hashlib
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


def literal(data):
    """String literals, because compilers read them far faster than numbers."""
    return "\n".join('"' + "".join(f"\\{byte:03o}" for byte in data[at:at + 64]) + '"' for at in range(0, len(data), 64)) or '""'


def main(target, *sources):
    rows = []
    with open(target, "w", encoding="ascii") as out:
        out.write('#include "api/dashboard.h"\n')
        for i, source in enumerate(sorted(map(pathlib.Path, sources))):
            data = source.read_bytes()
            packed = gzip.compress(data, 9, mtime=0)
            out.write(f"static const char plain_{i}[] =\n{literal(data)};\nstatic const char packed_{i}[] =\n{literal(packed)};\n")
            rows.append(f'    {{"{source.name}", "{TYPES[source.suffix]}", "{hashlib.sha256(data).hexdigest()[:32]}", '
                        f"{{plain_{i}, {len(data)}}}, {{packed_{i}, {len(packed)}}}}},\n")
        out.write(f"const struct dashboard_file dashboard_files[] = {{\n{''.join(rows)}}};\n")
        out.write(f"const size_t dashboard_n_files = {len(rows)};\n")


main(*sys.argv[1:])
