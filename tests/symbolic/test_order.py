"""Groups of names that depend on each other, against a definition by reachability."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chainrule.symbolic.order import components, recurrent

NAMES = "abcdefg"
GRAPHS = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES + "xy"), max_size=4), max_size=7)


def reachable(reads, start):
    """Every key reached from `start` by one or more reads."""
    found, open_names = set(), list(reads[start])
    while open_names:
        name = open_names.pop()
        if name in reads and name not in found:
            found.add(name)
            open_names.extend(reads[name])
    return found


@given(GRAPHS)
def test_groups_are_those_that_reach_each_other(reads):
    groups = components(reads)
    assert sorted(n for g in groups for n in g) == sorted(reads)
    home = {n: g for g in groups for n in g}
    for a in reads:
        for b in reads:
            together = a == b or (b in reachable(reads, a) and a in reachable(reads, b))
            assert (home[a] == home[b]) == together


@given(GRAPHS)
def test_each_group_stands_after_all_that_it_reads(reads):
    place = {n: m for m, g in enumerate(components(reads)) for n in g}
    assert all(place[r] <= place[n] for n in reads for r in reads[n] if r in reads)


@given(GRAPHS)
def test_a_group_is_recurrent_where_it_reaches_itself(reads):
    for group in components(reads):
        assert recurrent(group, reads) == (group[0] in reachable(reads, group[0]))


@given(GRAPHS)
def test_inside_a_group_the_order_is_that_of_the_mapping(reads):
    place = {n: m for m, n in enumerate(reads)}
    assert all([place[n] for n in g] == sorted(place[n] for n in g) for g in components(reads))


def test_long_chains_need_no_recursion():
    chain = {f"a{m}": [f"a{m - 1}"] for m in range(5000)}
    assert [g[0] for g in components(chain)] == list(chain)
