"""All suites, in the order in which they run: old clients first, then new ones, then whole suites of others."""

from . import javascript, jvm, other, python, rust

ALL = [*other.SHIPPERS[:1], *python.ALL, *javascript.ALL, *rust.ALL, *other.SHIPPERS[1:], *jvm.ALL, *other.GO]
