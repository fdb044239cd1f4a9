"""What libraries log of each other is kept back, their errors are not, and afterwards all is as before."""

from __future__ import annotations

import logging

import pytest

from tutelage.store.quiet import quiet_imports


def test_only_errors_pass_and_levels_return(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torchao")
    level = logger.level
    with pytest.raises(ImportError), quiet_imports():
        logger.warning("no kernel for this GPU")
        logger.error("broken")
        raise ImportError
    logger.warning("later")
    assert [record.message for record in caplog.records] == ["broken", "later"] and logger.level == level
