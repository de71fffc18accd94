"""Files: written whole or not at all, read without waiting, and trusted only where nobody else can have written."""

from .atomic import check_replaceable, replace_file, write_atomically
from .reading import open_regular
from .trust import distrusted, make_private, read_private

__all__ = [
    "check_replaceable",
    "distrusted",
    "make_private",
    "open_regular",
    "read_private",
    "replace_file",
    "write_atomically",
]
