"""The bounds within which every expression stays: with them no rule can hang the server or fill its memory.

The language has no loops: a node runs at most once per evaluation, and the work of one node is proportional to the size
of its operands (sorting: times the logarithm). So the bounds on source and values bound time and memory of the whole.
"""

from __future__ import annotations

# Characters of one `if`, `then` or `else`.
MAX_SOURCE = 16_384
# Tokens of one text: the number of steps of its evaluation can't be larger.
MAX_TOKENS = 4_096
# Operators, parentheses, brackets and calls inside each other.
MAX_NESTING = 100
# Clauses of one rule.
MAX_CLAUSES = 1_000
# Characters of a text that is read from the request or made by an expression.
MAX_TEXT = 65_536
# Items of an array, and characters of all items of one that a function made.
MAX_ITEMS = 4_096
MAX_ITEMS_TEXT = 1 << 20
# Characters of a regular expression, and octets its program and its automata may take.
MAX_PATTERN = 2_048
MAX_PATTERN_MEMORY = 1 << 20
# Steps of all programs of a rule's regular expressions together, and steps times octets of text. Mostly a match takes a
# nanosecond per octet; where RE2 has to fall back on following all threads, up to ten per octet and step.
MAX_PATTERN_STEPS = 2_048
MAX_PATTERN_WORK = 1 << 20
# Octets of text that a rule's patterns should be able to take: the longest request target.
USUAL_TEXT = 8_192
# Integers are 64 bits wide and saturate.
MIN_INTEGER = -(1 << 63)
MAX_INTEGER = (1 << 63) - 1
