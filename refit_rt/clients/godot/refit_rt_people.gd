# Receives a refit_rt stream over WebSocket and drives characters. For Godot 4. Add it to a Node3D: people stand in its
# space. Each person drives the next skeleton of `characters`; people without one are drawn as lines.
extends Node3D

signal received(about, people)

@export var url := "ws://127.0.0.1:8765"
## Skeleton3D nodes with the bone names of SkeletonProfileHumanoid, as an import with a bone map makes them.
@export var characters: Array[NodePath] = []
## Each person starts at this node's origin with the feet at y = 0. Otherwise people stand where they are in the world.
@export var from_origin := true
@export var draw_lines := true

const Decoder = preload("refit_rt_decoder.gd")
const BodyTools = preload("refit_rt_bodies.gd")
const RETRY_S := 1.0
const SILENT_S := 5.0  # after which it connects again

var status := "connecting"  # for a label: what happens, in one line
var faults := 0  # messages that could not be read

var _decoder = Decoder.new()
var _tools = BodyTools.new()
var _socket := WebSocketPeer.new()
var _wait_s := 0.0
var _silent_s := 0.0
var _tried := false
var _rigs := {}  # place → {person, rig, bones, start}
var _starts := {}  # person → start, for people who are drawn
var _lines := MeshInstance3D.new()


func _ready() -> void:
	var material := StandardMaterial3D.new()
	material.shading_mode = BaseMaterial3D.SHADING_MODE_UNSHADED
	_lines.mesh = ImmediateMesh.new()
	_lines.material_override = material
	add_child(_lines)


func _process(delta: float) -> void:
	_socket.poll()
	match _socket.get_ready_state():
		WebSocketPeer.STATE_OPEN:
			var newest := PackedByteArray()
			while _socket.get_available_packet_count() > 0:
				newest = _socket.get_packet()
			_silent_s += delta
			if not newest.is_empty():
				_silent_s = 0.0
				_take(newest)
			elif _silent_s > SILENT_S:  # a pulled cable does not close a connection
				_socket = WebSocketPeer.new()
		WebSocketPeer.STATE_CLOSED:
			if _tried:
				status = "no connection to %s; trying again" % url
			_wait_s -= delta
			if _wait_s <= 0.0:
				_tried = true
				_wait_s = RETRY_S
				_silent_s = 0.0
				_socket = WebSocketPeer.new()
				_socket.inbound_buffer_size = 1 << 20  # bytes; a message of 900 people
				_socket.connect_to_url(url)


func _exit_tree() -> void:
	_socket.close()


func _take(bytes: PackedByteArray) -> void:
	var message: Dictionary = _decoder.decode(bytes)
	if message.error != "":
		faults += 1
		status = message.error
		return
	status = "%s, people: %d" % [message.about.status, message.people.count]
	received.emit(message.about, message.people)
	if message.about.status != "live":
		return  # waiting or ended: the last pose stays
	var found: Array = _tools.bodies(message.people)
	var places: Dictionary = _tools.places(message.people.ids, message.about.time_s, characters.size())
	var drawn := []
	for body in found:
		if places.has(body.id):
			_drive(places[body.id], body)
		else:
			drawn.append(body)
	_show_lines(drawn if draw_lines else [])


func _drive(place: int, body: Dictionary) -> void:
	var skeleton := get_node_or_null(characters[place]) as Skeleton3D
	if skeleton == null:
		status = "characters %d: there is no Skeleton3D at %s" % [place, characters[place]]
		return
	if not _rigs.has(place) or _rigs[place].person != body.id:
		_rigs[place] = _rigged(skeleton, body)
	var one: Dictionary = _rigs[place]
	if one.missing != "":
		status += "; bones that are missing: " + one.missing
	if one.bones[0] < 0:
		return
	var turns: Array = _tools.local(one.rig, body)
	for joint in range(BodyTools.JOINTS):
		if one.bones[joint] >= 0:
			skeleton.set_bone_pose_rotation(one.bones[joint], turns[joint].get_rotation_quaternion())
	skeleton.set_bone_pose_position(one.bones[0], _tools.hips(one.rig, body, one.start))


# The bones of a skeleton that a person drives.
func _rigged(skeleton: Skeleton3D, body: Dictionary) -> Dictionary:
	var bones := []
	var heads := []
	var bases := []
	var parents := []
	var roots := []
	var above := []
	var missing := PackedStringArray()
	for bone_name in BodyTools.BONES:
		var bone := skeleton.find_bone(bone_name)
		bones.append(bone)
		if bone < 0:
			missing.append(bone_name)
	for bone in bones:
		var parent: int = skeleton.get_bone_parent(bone) if bone >= 0 else -1
		var rest: Transform3D = skeleton.get_bone_global_rest(bone) if bone >= 0 else Transform3D()
		var upper: Transform3D = skeleton.get_bone_global_rest(parent) if parent >= 0 else Transform3D()
		heads.append(rest.origin if bone >= 0 else null)
		bases.append(rest.basis.orthonormalized() if bone >= 0 else null)
		parents.append(upper.basis.orthonormalized())
		roots.append(upper.origin)
		while parent >= 0 and not bones.has(parent):
			parent = skeleton.get_bone_parent(parent)
		above.append(bones.find(parent) if parent >= 0 else -1)
	return {
		"person": body.id,
		"bones": bones,
		"missing": ", ".join(missing),
		"rig": _tools.rig(heads, bases, parents, roots, above, body.offsets),
		"start": _tools.stand(body) if from_origin else Vector3.ZERO,
	}


func _show_lines(people: Array) -> void:
	var mesh := _lines.mesh as ImmediateMesh
	mesh.clear_surfaces()
	if people.is_empty():
		return
	mesh.surface_begin(Mesh.PRIMITIVE_LINES)
	for body in people:
		if not _starts.has(body.id):
			_starts[body.id] = _tools.stand(body) if from_origin else Vector3.ZERO
		for joint in range(1, BodyTools.JOINTS):
			mesh.surface_add_vertex(body.joints[joint] - _starts[body.id])
			mesh.surface_add_vertex(body.joints[BodyTools.PARENTS[joint]] - _starts[body.id])
	mesh.surface_end()
