from tests.core.conftest import boot

__all__ = ["boot"]
