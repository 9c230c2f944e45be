"""The store's contract on every database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenas.store import Store, open_store
from edgenas.testing.store import StoreContract


class _Shared(StoreContract):
    @pytest.fixture
    def place(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def store(self, place: str) -> Iterator[Store]:
        with open_store(place) as store:
            yield store

    @pytest.fixture
    def other(self, store: Store, place: str) -> Iterator[Store]:
        with open_store(place, create=False) as other:
            yield other


class TestSqliteFile(_Shared):
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/lab/100%25 store.db"


class TestPostgres(_Shared):
    @pytest.fixture
    def place(self, postgres_url: str) -> str:
        return postgres_url


class TestSqliteMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with open_store("sqlite://") as store:
            yield store

    @pytest.fixture
    def other(self) -> Store:
        pytest.skip("a store in memory has one user")
