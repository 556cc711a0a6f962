"""Migrations into one C table: embed.py OUT.c DRIVER HEADER 0001.sql 0002.sql ..."""
import json
import pathlib
import sys

out, driver, header, *files = sys.argv[1:]
lines = ["/* Made by embed.py from the migrations. */", f'#include "{header}"', "", f"const char *const {driver}_migrations[] = {{"]
for number, name in enumerate(sorted(files), 1):
    path = pathlib.Path(name)
    if path.name != f"{number:04d}.sql":
        sys.exit(f"migration {number} should be {number:04d}.sql, found {path.name}")
    text = [json.dumps(line + "\n").replace("/*", "/\" \"*") for line in path.read_text(encoding="ascii").splitlines()]
    lines.append("    (" + "\n     ".join(text) + "),")  # else clang takes two lines among longer ones for a missing comma
lines += ["};", f"const unsigned {driver}_n_migrations = {len(files)};", ""]
pathlib.Path(out).write_text("\n".join(lines))
