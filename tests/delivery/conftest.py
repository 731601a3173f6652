from support.scenes import make_scene, sandbox, scene

__all__ = ["make_scene", "sandbox", "scene"]
