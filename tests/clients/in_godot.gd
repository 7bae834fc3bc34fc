# What the tests run in Godot 3, whose GDScript differs from Godot 4's where this file says so. JOB.json → FOUND.json.
extends SceneTree

class Decoder extends "refit_rt_decoder.gd":
	func _parsed(text):
		var result = JSON.parse(text)
		return result.result if result.error == OK else null


func _init():
	var job = JSON.parse(_bytes("job.json").get_string_from_utf8()).result
	var found = {"messages": [], "fuzzed": {"accepted": 0, "refused": 0}, "poses": []}
	for path in job["messages"]:
		var message = Decoder.new().decode(_bytes(path))
		var numbers = []
		for key in Decoder.NUMBERS:
			numbers.append(message.about.get(key, 0.0))
		for name in Decoder.ARRAYS:
			numbers += message.people.get(name, [])
		for place in message.about.get("world_from_cameras", []):
			numbers += place
		numbers += message.about.get("floor", [])
		_keep(path + ".numbers", numbers)
		found["messages"].append({"error": message.error, "camera": message.about.get("camera"), "names": message.people.keys()})
	found["poses"] = _poses(job)
	_fuzz(job["fuzz"], found["fuzzed"])
	found["heard"] = _heard(job["live"])
	var file = File.new()
	file.open("found.json", File.WRITE)
	file.store_string(JSON.print(found))
	file.close()
	quit()


# Poses a chain of bones as Skeleton3D does, and writes the heads of all bones.
func _poses(job):
	var tools = load("refit_rt_bodies.gd").new()
	var people = Decoder.new().decode(_bytes(job["poses"])).people
	var numbers = []
	var body = tools.bodies(people)[0]
	for turn in body.turns:
		for axis in [turn.x, turn.y, turn.z]:
			numbers += [axis.x, axis.y, axis.z]
	for one in body.offsets:
		numbers += [one.x, one.y, one.z]
	for skeleton in job["skeletons"]:
		numbers += _posed(tools, skeleton, body)
	_keep("poses.numbers", numbers)
	var seen = []
	for row in job["places"]:
		var ids = []
		for id in row[0]:
			ids.append(int(id))
		var held = tools.places(ids, row[1], 2)
		var places = []
		for id in ids:
			places.append(held.get(id, -1))
		seen.append(places)
	return seen


func _posed(tools, skeleton, body):
	var heads = []
	var bases = []
	var parents = []
	var roots = []
	var root = Transform(Basis(Vector3(0, 0, 1), 0.4), Vector3(0.1, 0.2, 0.3))  # a bone above the hips
	var upper_joints = []
	for joint in range(24):
		var rest = skeleton[joint]
		heads.append(null if rest == null else Vector3(rest[0], rest[1], rest[2]))
		bases.append(null if rest == null else Basis(Vector3(rest[3], rest[4], rest[5]).normalized(), rest[6]))
		var above = tools.PARENTS[joint]
		while above >= 0 and heads[above] == null:
			above = tools.PARENTS[above]
		upper_joints.append(above)
		parents.append(bases[above] if above >= 0 else root.basis)
		roots.append(heads[above] if above >= 0 else root.origin)
	var one = tools.rig(heads, bases, parents, roots, upper_joints, body.offsets)
	var turns = tools.local(one, body)
	var world = []
	var numbers = []
	for joint in range(24):
		if heads[joint] == null:
			world.append(null)
			numbers += [NAN, NAN, NAN]
			continue
		var upper = world[upper_joints[joint]] if joint > 0 else root
		var at = Transform(parents[joint], roots[joint]).affine_inverse().xform(heads[joint])
		if joint == 0:
			at = tools.hips(one, body, Vector3())
		world.append(upper * Transform(turns[joint], at))
		numbers += [world[joint].origin.x, world[joint].origin.y, world[joint].origin.z]
	return numbers


# The frames of ten messages of an outlet, which sends the next one when Godot has answered its ping.
func _heard(url):
	var decoder = Decoder.new()
	var client = WebSocketClient.new()
	var frames = []
	client.connect_to_url(url)
	for _i in range(5000):
		client.poll()
		var connected = client.get_connection_status() == NetworkedMultiplayerPeer.CONNECTION_CONNECTED
		while connected and client.get_peer(1).get_available_packet_count() > 0:
			frames.append(decoder.decode(client.get_peer(1).get_packet()).about.frame)
		if frames.size() >= 10:
			break
		OS.delay_msec(2)
	client.disconnect_from_host()
	return frames


# Messages in one file, each after its length.
func _fuzz(path, counts):
	var file = File.new()
	file.open(path, File.READ)
	var decoder = Decoder.new()
	while file.get_position() < file.get_len():
		var size = file.get_32()
		var message = decoder.decode(file.get_buffer(size))
		if message.error != "":
			counts["refused"] += 1
		elif message.people.joints_world.size() == message.people.count * 72:
			counts["accepted"] += 1
	file.close()


func _bytes(path):
	var file = File.new()
	file.open(path, File.READ)
	var bytes = file.get_buffer(file.get_len())
	file.close()
	return bytes


func _keep(path, numbers):
	var file = File.new()
	file.open(path, File.WRITE)
	for number in numbers:
		file.store_double(number)
	file.close()
