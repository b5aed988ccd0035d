from adapterhub_persistent_memory import PersistentMemory

from adapterhub.testing import MethodContract


class TestPersistentMemory(MethodContract):
    method = PersistentMemory()
    options = ({"slots": 5},)
    scale = 0.5
