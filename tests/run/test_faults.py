"""Whatever is wrong with its world, pf-spamfilt loses, changes and bounces no mail: the table of lab.faults."""

from multiprocessing.pool import AsyncResult

import pytest

from lab.faults import table
from lab.judgement import SAFE
from lab.stage import Result

FAULTS = table()


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=map(str, FAULTS))
def test_fault_is_survived(number: int, results: dict[int, AsyncResult[Result]]) -> None:
    result = results[number].get(timeout=600)
    assert result.verdict == SAFE, str(result)


def test_no_two_faults_have_one_name() -> None:
    assert len(set(map(str, FAULTS))) == len(FAULTS)
