"""Find unfilled templates: `orders-{env}`, `${STREAM}`, `$(POD_NAME)`, `{{ stream }}`, `%s`, `<stream>`.

Such a name comes from an f-string without its `f`, or from a file that no tool has filled in. Redis would accept it,
and processes that need a name each would share one. Pure.

Braces are also the hash tag of a Redis Cluster: `{orders}:invoices`, `{eu}orders`, `orders:{3}`,
`{user1000}.following`. A name that begins with `{...}:` has a hash tag, as keys beside a stream do. Elsewhere the word
in the braces decides. A hash tag is a value: a business word, a country, anything with a digit or a hyphen. A template
contains the name of a value: a word from configuration (`env`, `stream`, `tenant`), or an attribute (`pod_name`,
`order.id`, `customerId`, `settings.shop`).
"""

from __future__ import annotations

import functools
import re

_MARKS = r"""
      \$[{(].*?[})] | \$[A-Z_]{2,}                    # ${STREAM}, $(POD_NAME), $STREAM: shells, Kubernetes, Compose
    | %\([^)]*\)[a-z]? | %[a-zA-Z](?![0-9a-zA-Z])     # %(env)s, %s, %Y-%m-%d: Python, the clock; not %2F or %de
    | %[A-Za-z_]{3,}%                                 # %STREAM%: Windows
    | \{\{.*?\}\} | \{%.*?%\}                         # {{stream}}, {%env%}: Jinja, Helm, mustache
    | \#\{.*?\} | <%.*?%> | <[^<>]+>                  # #{env}, <%=env%>, <stream>: Ruby, documentation
    | \{\} | \{[^{}]*![rsa](?::[^{}]*)?\}             # {}, {env!r}: str.format
    """
"""Templates that cannot be hash tags."""
_IN_BRACES = re.compile(r"\{([^{}]*)\}|\$([a-z_]+)")
_BESIDE_A_STREAM = re.compile(r"\{[^{}]+\}(?=:)")
"""The beginning of keys beside a stream, and of streams on its slot: `{queue}:billing:dead`."""
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_.]*")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_NAMES_OF_VALUES = frozenset(
    _WORDS.findall("""
    app application channel cluster conf config consumer date day deployment env environ environment group host hostname
    i id idx index instance key kind mode month n name namespace node num number partition pid placeholder pod port
    prefix process profile queue region release replica service settings shard slot stage stream suffix tenant time
    timestamp topic type uid uuid val value var variable version worker year zone
    """)
)
_ATTRIBUTES = frozenset(
    _WORDS.findall("date env host hostname id index key name namespace number prefix suffix type uid uuid")
)
_OWNERS = frozenset(_WORDS.findall("args cfg conf config environ os self settings"))


@functools.cache
def _marks() -> re.Pattern[str]:
    """Return the pattern of `_MARKS`, compiled when a name first looks like a template."""
    return re.compile(_MARKS, re.VERBOSE)


def blank(text: str) -> str | None:
    """Return the first unfilled place of a text, e.g. `{env}`; `None` if there is none."""
    if not any(mark in text for mark in "{$%<"):
        return None
    if found := _marks().search(text):
        return found[0]
    beside = _BESIDE_A_STREAM.match(text)
    return _first_name(text, beside.end() if beside else 0)


def _first_name(text: str, start: int) -> str | None:
    """Return the first name of a value in braces, with the braces."""
    names = _IN_BRACES.finditer(text, start)
    return next((found[0] for found in names if _is_name_of_a_value(found[1] or found[2] or "")), None)


def _is_name_of_a_value(tag: str) -> bool:
    """Whether the text in braces names a value instead of being one: `env`, `pod_name`, `order.id`, `tenantId`."""
    if not _IDENTIFIER.fullmatch(tag):
        return False
    first, *others = map(str.casefold, _WORDS.findall(tag))
    return first in _NAMES_OF_VALUES if not others else others[-1] in _ATTRIBUTES or first in _OWNERS
