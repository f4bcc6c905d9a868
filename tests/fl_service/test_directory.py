"""Who is where, put together from what every aggregator sees of its children."""

from fl_service.directory import Directory


def child(standing="here", life="1", connected=True):
    return {"standing": standing, "life": life, "connected": connected, "reason": "why"}


def kinds(news):
    return [(kind, node) for kind, node, _ in news]


def directory():
    d = Directory("ga")
    assert kinds(d.saw("ga", {"la1": child(), "la2": child()})) == [("joined", "la1"), ("joined", "la2")]
    assert kinds(d.saw("la1", {"n5": child()})) == [("joined", "n5")]
    return d


def test_late_back_and_lost_are_told_once():
    d = directory()
    assert kinds(d.saw("la1", {"n5": child("away", connected=False)})) == [("late", "n5")]
    assert d.place("n5").may_return
    assert d.saw("la1", {"n5": child("late", connected=False)}) == []
    assert kinds(d.saw("la1", {"n5": child()})) == [("back", "n5")]
    assert kinds(d.saw("la1", {"n5": child("lost", connected=False)})) == [("lost", "n5")]
    assert d.saw("la1", {"n5": child("lost", connected=False)}) == []
    assert kinds(d.saw("la1", {"n5": child(life="2")})) == [("back", "n5")]


def test_a_move_is_no_news_in_whatever_order_it_is_seen():
    d = directory()
    assert d.saw("la2", {"n5": child()}) == []
    assert d.saw("la1", {}) == []
    assert d.place("n5").parent == "la2"
    assert d.saw("la2", {}) == []
    assert d.place("n5") is None
    assert d.saw("la1", {"n5": child()}) == []


def test_lost_at_one_parent_but_here_at_another_is_here():
    d = directory()
    d.saw("la2", {"n5": child()})
    assert d.saw("la1", {"n5": child("lost", connected=False)}) == []
    assert (d.place("n5").parent, d.place("n5").standing) == ("la2", "here")


def test_of_children_of_a_silent_parent_nobody_says_more_than_of_itself():
    d = directory()
    assert kinds(d.saw("ga", {"la1": child("late"), "la2": child()})) == [("late", "la1")]
    assert (d.place("n5").standing, d.place("n5").may_return) == ("late", False)
    assert kinds(d.saw("ga", {"la1": child(), "la2": child()})) == [("back", "la1")]
    assert d.place("n5").standing == "here"
    d.saw("ga", {"la1": child("away", connected=False), "la2": child()})
    assert d.place("n5").may_return


def test_children_of_a_lost_parent_are_nowhere_until_they_turn_up():
    d = directory()
    assert kinds(d.saw("ga", {"la1": child("lost", connected=False), "la2": child()})) == [("lost", "la1")]
    assert d.place("n5") is None
    assert d.saw("ga", {"la1": child("lost", connected=False), "la2": child(), "n5": child()}) == []
    assert d.place("n5").parent == "ga"
