"""The command lines of the metrics' programs: hundreds of run folders fit into a file.

`@FILE` stands for the arguments in FILE, one a line: an option, a value or a folder, spaces and
all. Empty lines are skipped; a file may name further files.
"""

import argparse


class _Parser(argparse.ArgumentParser):
    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """argparse would take an empty line for an empty argument: the folder `.`."""
        line = arg_line.strip()
        return [line] if line else []


def parser(prog: str) -> argparse.ArgumentParser:
    """A parser for `python -m prog` that reads @FILE. A missing file ends the program with 2."""
    return _Parser(prog=f"python -m {prog}", fromfile_prefix_chars="@")
