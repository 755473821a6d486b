"""Every code that contract/wechat names has a class, and the classes say what to do."""

from __future__ import annotations

import pytest

from services.wechat.core import errors

# fmt: off
NAMED = {
    "wechat": {
        errors.TokenRejected: {40001, 40014, 42001},
        errors.BadConfig: {40013, 40125, 40164, 40243, 41002, 41004, 45029, 48001, 85079, 89501, 89503, 89506, 89507},
        errors.SlowDown: {44990, 44991, 45009, 45011, 48006},
        errors.Transient: {-1},
        errors.SubjectState: {40003, 40007, 40029, 40163, 40226, 41008, 43101, 43104, 45015, 45047, 45080, 45168, 61010,
                              87009, 87014},
        errors.AlreadyDone: {45081},
        errors.TryLater: {43108},
        errors.BadRequest: {40002, 40037, 40066, 40097, 40129, 40165, 40169, 40212, 41001, 41030, 43002, 43302, 44002,
                            45072, 47001, 47003, 85400, 85401},
    },
    "wecom": {
        errors.TokenRejected: {40014, 42001},
        errors.BadConfig: {40001, 40013, 40056, 41002, 41004, 41045, 41095, 42009, 48002, 48006, 50001, 50003, 60011,
                           60020, 81011, 90510, 301002, 301042, 610015, 610016, 610017},
        errors.SlowDown: {45009, 45033},
        errors.Transient: {-1, 6000},
        errors.SubjectState: {40003, 40007, 40029, 40096, 40097, 40098, 40099, 40100, 40128, 40129, 40130, 40131, 41008,
                              41048, 41050, 41053, 41054, 41055, 41058, 41061, 41094, 42003, 42022, 42052, 60003, 60111, 60123,
                              81013, 84061, 84074, 84083, 84084, 90500, 90501, 90502, 90503, 90504, 90505, 90506, 90509,
                              90511, 301052, 301053, 610014, 610018},
        errors.AlreadyDone: {41051, 41071, 41093, 90508},
        errors.TryLater: {41062, 41063, 41078, 41079, 41096, 90507},
        errors.BadRequest: {40004, 40005, 40006, 40035, 40058, 40063, 40066, 40068, 40071, 40072, 40123, 40206, 41001,
                            41037, 41038, 41039, 41040, 41041, 41042, 41043, 41044, 41046, 41047, 41049, 41059,
                            41060, 41064, 41065, 41067, 41088, 41089, 41091, 44001, 44004, 45001, 45029, 47001, 81017},
    },
}
# fmt: on
EACH = [
    (family, kind, code) for family, kinds in NAMED.items() for kind, codes in kinds.items() for code in sorted(codes)
]


@pytest.mark.parametrize(("family", "kind", "code"), EACH, ids=[f"{row[0]}{row[2]}" for row in EACH])
def test_a_named_code_has_its_class(family, kind, code):
    assert type(errors.platform_error(family, code, "", "/p")) is kind


def test_a_code_is_in_one_class_only():
    for table in (errors._WECHAT, errors._WECOM):
        codes = [code for kind in table.values() for code in kind]
        assert len(codes) == len(set(codes))


def test_each_class_says_what_to_do():
    actions = {
        kind.__name__: (kind.action, kind.status)
        for kind in (*errors.PlatformError.__subclasses__(), *errors.SubjectState.__subclasses__())
    }
    assert actions == {
        "TokenRejected": ("refresh", 502),
        "BadConfig": ("page", 502),
        "SlowDown": ("defer", 503),
        "Transient": ("retry", 503),
        "SubjectState": ("give_up", 502),
        "AlreadyDone": ("done", 502),
        "TryLater": ("defer", 503),
        "BadRequest": ("give_up", 502),
        "UnknownCode": ("give_up", 502),
        "UnknownOutcome": ("defer", 503),
        "NotSent": ("retry", 503),
    }


@pytest.mark.parametrize("family", ["wechat", "wecom"])
@pytest.mark.parametrize(
    "errmsg",
    [
        "api freq out of limit, hint: [1700000000_1_0123456789abcdef]",
        "reach max api minute limit",
        "reach max api hour limit",
        "reach max api daily quota limit rid: 65000000-00000001-00000002",
        "api day limit reached",
        "reach max month limit",
        "本月调用次数已达上限",
        "",
    ],
)
def test_the_text_of_a_limit_says_nothing_of_how_long_it_holds(family, errmsg):
    error = errors.platform_error(family, 45009, errmsg, "/p")
    assert (type(error), error.retry_after) == (errors.SlowDown, 60)


@pytest.mark.parametrize(
    ("family", "code", "seconds"),
    [("wecom", 45033, 1), ("wecom", 41063, 10), ("wecom", 41078, 60), ("wecom", 41096, 1), ("wechat", 45011, 60)],
)
def test_how_long_to_wait_for_other_codes(family, code, seconds):
    assert errors.platform_error(family, code, "daily", "/p").retry_after == seconds
