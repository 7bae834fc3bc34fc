"""What the tests run inside Blender: blender --background --factory-startup --python in_blender.py -- JOB.json

The job names the add-on, the streams, the recordings and where the findings go, as JSON.
"""

import json
import math
import os
import sys
import time
from pathlib import Path

try:
    import numpy  # noqa: F401
except ImportError:  # a Blender of a distribution uses the system's Python, which may lack it
    sys.exit(77)
import bpy

JOB = json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8"))
PATIENCE_S = 30


def main() -> None:
    if JOB["install"]:
        bpy.ops.preferences.addon_install(filepath=JOB["addon"])
        bpy.ops.preferences.addon_enable(module="refit_rt_blender")
    else:
        sys.path.insert(0, str(Path(JOB["addon"]).parent))
    import refit_rt_blender as addon

    if not JOB["install"]:
        addon.register()
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    scene = bpy.context.scene
    scene.render.fps = 30
    found = {"version": bpy.app.version_string}
    for name, step in {"live": live, "raised": raised, "chosen": chosen, "imports": imports, "faults": faults}.items():
        found[name] = step(addon, scene)
        for thing in list(bpy.data.objects):
            bpy.data.objects.remove(thing)
    if JOB["install"]:
        bpy.ops.preferences.addon_disable(module="refit_rt_blender")
    else:
        addon.unregister()
    found["left"] = hasattr(bpy.types.Scene, "refit_rt")
    Path(JOB["found"]).write_text(json.dumps(found), encoding="utf-8")


def heads() -> dict[str, dict[str, list[float]]]:
    """Armature → bone → head in the world."""
    bpy.context.view_layer.update()
    return {
        one.name: {bone.name: list(one.matrix_world @ bone.head) for bone in one.pose.bones}
        for one in bpy.data.objects
        if one.type == "ARMATURE" and not one.hide_viewport
    }


def heard(addon, count: int) -> list[tuple[float, dict]]:
    """The frames of so many further messages, and the heads after each. The timer's own function is called, since
    Blender runs no timers in the background."""
    got, end_s = [], time.monotonic() + PATIENCE_S
    while len(got) < count and time.monotonic() < end_s:
        before = addon._State.live.stream.received, addon._State.live.about.get("frame")
        addon.tick()
        frame = addon._State.live.about.get("frame")
        if frame is not None and frame != before[1]:
            got.append((frame, heads()))
        time.sleep(0.002)
    return got


def live(addon, scene) -> dict:
    scene.refit_rt.address = JOB["dancing"]
    bpy.ops.refit_rt.listen()
    shown = heard(addon, 20)
    bpy.ops.refit_rt.record()
    taken = heard(addon, 20)
    lines = addon._State.live.lines()
    bpy.ops.refit_rt.record()
    played = []
    for frame in range(scene.frame_start, scene.frame_end + 1)[: int(taken[-1][0] - taken[0][0]) + 1]:
        scene.frame_set(frame)
        played.append(heads())
    return {"shown": shown, "taken": taken, "lines": lines, "played": played, "still": addon.tick()}


def raised(addon, scene) -> dict:
    scene.refit_rt.address = JOB["raised"]
    bpy.ops.refit_rt.listen()
    in_world = until(addon, lambda: len(heads()) == 1)
    bpy.ops.refit_rt.listen()
    scene.refit_rt.place = "FLOOR"
    bpy.ops.refit_rt.listen()
    heard(addon, 1)
    at_origin = heads()
    bpy.ops.refit_rt.listen()
    scene.refit_rt.place = "WORLD"
    return {"world": in_world, "origin": at_origin, "objects": len(bpy.data.objects)}


def until(addon, done) -> dict:
    end_s = time.monotonic() + PATIENCE_S
    while not done() and time.monotonic() < end_s:
        addon.tick()
        time.sleep(0.002)
    return heads()


def chosen(addon, scene) -> dict:
    """An armature of Mixamo's kind: y up and in centimetres inside, in an A-pose, without one bone."""
    rig = bpy.data.objects.new("character", bpy.data.armatures.new("character"))
    scene.collection.objects.link(rig)
    rig.rotation_euler, rig.scale, rig.location = (math.pi / 2, 0, 0), (0.01, 0.01, 0.01), (1, 2, 3)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name, (head, tail, above, roll) in JOB["character"].items():
        bone = rig.data.edit_bones.new(name)
        bone.head, bone.tail, bone.roll = head, tail, roll
        bone.parent = rig.data.edit_bones[above] if above else None
    bpy.ops.object.mode_set(mode="OBJECT")
    scene.refit_rt.target, scene.refit_rt.address = rig, JOB["dancing"]
    bpy.ops.refit_rt.listen()
    shown = heard(addon, 5)
    lines = addon._State.live.lines()
    bpy.ops.refit_rt.listen()
    scene.refit_rt.bones = "unreal"
    refused = failing(bpy.ops.refit_rt.listen)
    scene.refit_rt.bones, scene.refit_rt.target = "AUTO", None
    return {"shown": shown, "lines": lines, "refused": refused, "objects": len(bpy.data.objects)}


def imports(addon, scene) -> dict:
    scene.frame_start, scene.render.fps = 1, 24
    bpy.ops.import_anim.refit_rt(filepath=JOB["recording"])
    played = []
    for frame in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(frame)
        played.append(heads())
    rate = scene.render.fps / scene.render.fps_base
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    scene.render.fps, scene.render.fps_base = 24, 1
    bpy.ops.import_anim.refit_rt(filepath=JOB["recording"], take_rate=False)
    at = 1 + JOB["moment"] / 30 * 24
    scene.frame_set(math.floor(at), subframe=at % 1)
    return {"played": played, "rate": rate, "at_24": heads()}


def faults(addon, scene) -> dict:
    said = {path: failing(bpy.ops.import_anim.refit_rt, filepath=path) for path in JOB["broken"]}
    scene.refit_rt.address = "nonsense"
    said["address"] = failing(bpy.ops.refit_rt.listen)
    scene.refit_rt.address = JOB["nobody"]
    bpy.ops.refit_rt.listen()
    live = addon._State.live
    until(addon, lambda: "Trying again" in live.stream.trouble)
    said["nobody"] = "; ".join(live.lines())
    bpy.ops.refit_rt.listen()
    scene.refit_rt.address = JOB["ended"]
    bpy.ops.refit_rt.listen()
    live = addon._State.live
    until(addon, lambda: live.about.get("status") == "ended")
    said["ended"] = "; ".join(live.lines())
    bpy.ops.refit_rt.listen()
    return said | {"objects": len(bpy.data.objects)}


def failing(operator, **named) -> str:
    """The line that an operator reports as an error; Blender raises it where a script has called."""
    try:
        operator(**named)
    except RuntimeError as error:
        return str(error).strip()
    return ""


main()
if not JOB["install"]:
    os._exit(0)  # the module bpy 4.2 crashes at the exit of every Python that has given it a function
