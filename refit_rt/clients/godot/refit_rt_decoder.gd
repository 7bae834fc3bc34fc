# Decodes the messages of a refit_rt stream. It needs no other file and does not care how the bytes arrive.
#
#   var decoder = load("res://refit_rt/refit_rt_decoder.gd").new()
#   var message = decoder.decode(bytes)
#   if message.error == "":
#       print(message.about.frame, message.people.ids)
#
# This file is written in what GDScript 3 and 4 share, apart from `_parsed`, which is for Godot 4.

const SCHEMA = "refit_rt.people/1"
const JOINTS = 24
const TEXTS = ["status", "camera", "body", "bundle"]
const NUMBERS = [
	"frame", "captured_unix_s", "captured_s", "time_s", "age_s", "dropped", "width_px", "height_px", "focal_px",
	"centre_x_px", "centre_y_px",
]
# Array: dtype, shape of one person's row. Metres, radians, image pixels; docs/stream.md has every field.
const ARRAYS = {
	"ids": ["I64", []],
	"poses": ["F32", [24, 3]],  # axis-angle; joint 0: the body in the camera's frame
	"betas": ["F32", [10]],
	"trans": ["F32", [3]],
	"joints_camera": ["F32", [24, 3]],  # x right, y down, z forward
	"joints_px": ["F32", [24, 2]],
	"joints_world": ["F32", [24, 3]],  # y up, right-handed: Godot's axes
	"box": ["F32", [4]],
	"confidence": ["F32", []],
	"iterations": ["I32", []],
	"views": ["I32", []],  # bit i: camera i of about.cameras showed the person
	"contacts": ["F32", [4]],  # 0 to 1: l_ankle, r_ankle, l_foot, r_foot on the floor
}
const ADDED = ["views", "contacts"]  # absent from `people` where the sender does not know them
const SIZES = {"I64": 8, "I32": 4, "F32": 4}
const MOST_BYTES = 16777216

var _float = typeof(0.0)  # its name differs between Godot 3 and 4


# bytes → {error, about, people}. error: "" or what is wrong, in one line; the others are empty then.
#
# about: the metadata; what is a number is one. Also cameras (names), world_from_cameras (12 numbers each: the upper
# three rows of its matrix) and floor (unit normal x y z and metres), where they are sent. people: count, and one flat
# array per quantity: joint j of person i in joints_world starts at (i * 24 + j) * 3.
func decode(bytes):
	var message = {"error": "", "about": {}, "people": {}}
	var error = _read(bytes, message)
	if error != "":
		return {"error": error, "about": {}, "people": {}}
	return message


func _read(bytes, message):
	var stream = StreamPeerBuffer.new()
	stream.big_endian = false
	stream.data_array = bytes
	var length = stream.get_64() if bytes.size() >= 8 and bytes.size() <= MOST_BYTES else 0
	if length < 2 or length > bytes.size() - 8:
		return "not a refit_rt message. Check the address"
	var header = _parsed(stream.get_utf8_string(length))
	if typeof(header) != TYPE_DICTIONARY or typeof(header.get("__metadata__")) != TYPE_DICTIONARY:
		return "not a refit_rt message: its header cannot be read. Check the address"
	var error = _read_about(header["__metadata__"], message.about)
	if error != "":
		return error
	return _read_people(header, stream, 8 + length, bytes.size(), message.people)


func _parsed(text):
	var json = ClassDB.call("instantiate", "JSON")
	return json.data if json.parse(text) == OK else null


func _read_about(texts, about):
	for key in texts:
		if typeof(texts[key]) != TYPE_STRING:
			return "not a refit_rt message: its metadata are no texts. Check the address"
		about[key] = texts[key]
	if about.get("schema") != SCHEMA:
		return "schema '%s', but this file reads '%s'. Copy the client again from the sender's version" % [about.get("schema"), SCHEMA]
	for key in TEXTS:
		if not about.has(key):
			return "incomplete message: no '%s'" % key
	for key in NUMBERS:
		if not about.has(key):
			return "incomplete message: no '%s'" % key
		var number = _numbers(about[key], 1)
		if number == null:
			return "damaged message: '%s' is not a number" % key
		about[key] = number[0]
	return _read_places(about)


func _read_places(about):
	if about.has("floor"):
		about["floor"] = _numbers(about["floor"], 4)
		if about["floor"] == null:
			return "damaged message: 'floor' is not 4 numbers"
	if about.get("cameras", "") == "":
		return ""
	if not about.has("world_from_cameras"):
		return "incomplete message: no 'world_from_cameras'"
	about["cameras"] = about["cameras"].split(",")
	var places = []
	for text in about["world_from_cameras"].split(","):
		var place = _numbers(text, 12)
		if place == null:
			return "damaged message: 'world_from_cameras' has a place that is not 12 numbers"
		places.append(place)
	if places.size() != about["cameras"].size():
		return "damaged message: 'world_from_cameras' has another number of places than 'cameras'"
	about["world_from_cameras"] = places
	return ""


# Finite numbers with spaces between them, exactly `count`; else null.
func _numbers(text, count):
	var parts = text.split(" ")
	var numbers = []
	for part in parts:
		var number = float(part) if part.is_valid_float() else NAN
		if is_nan(number) or is_inf(number):
			return null
		numbers.append(number)
	return numbers if numbers.size() == count else null


func _read_people(header, stream, begin, end, people):
	var ids = header.get("ids")
	var shape = ids.get("shape") if typeof(ids) == TYPE_DICTIONARY else null
	if typeof(shape) != TYPE_ARRAY or shape.size() != 1 or not _is_whole(shape[0], end):
		return "incomplete message: no array 'ids'"
	people["count"] = int(shape[0])
	for name in ARRAYS:
		if ADDED.has(name) and not header.has(name):
			continue
		var error = _read_array(name, header.get(name), stream, begin, end, people)
		if error != "":
			return error
	return ""


func _read_array(name, entry, stream, begin, end, people):
	if typeof(entry) != TYPE_DICTIONARY:
		return "incomplete message: no array '%s'" % name
	var code = ARRAYS[name][0]
	var shape = [people.count] + ARRAYS[name][1]
	if typeof(entry.get("dtype")) != TYPE_STRING or entry["dtype"] != code or not _same(entry.get("shape"), shape):
		return "the array '%s' has another type or shape than this file reads" % name
	var count = 1
	for size in shape:
		count *= size
	var offsets = entry.get("data_offsets")
	var outside = "the array '%s' does not lie within the message" % name
	if typeof(offsets) != TYPE_ARRAY or offsets.size() != 2:
		return outside
	if not _is_whole(offsets[0], end - begin) or not _is_whole(offsets[1], end - begin):
		return outside
	if int(offsets[1]) - int(offsets[0]) != count * SIZES[code]:
		return outside
	stream.seek(begin + int(offsets[0]))
	var values = []
	values.resize(count)
	var check = 0.0
	for i in range(count):
		if code == "F32":
			values[i] = stream.get_float()
			check += values[i] * 0.0  # not 0 for what is not finite
		else:
			values[i] = stream.get_64() if code == "I64" else stream.get_32()
	if check != 0.0:
		return "damaged message: '%s' has numbers that are not finite" % name
	people[name] = values
	return ""


func _same(given, wanted):
	if typeof(given) != TYPE_ARRAY or given.size() != wanted.size():
		return false
	for i in range(wanted.size()):
		if not _is_whole(given[i], MOST_BYTES) or int(given[i]) != wanted[i]:
			return false
	return true


# Whether it is a whole number from 0 to `most`.
func _is_whole(value, most):
	if typeof(value) != _float and typeof(value) != TYPE_INT:
		return false
	return value >= 0 and value <= most and value == floor(value)
