# Bodies of a message, and how they turn the bones of a skeleton. Godot's axes: y up, right-handed, metres; in the T-pose
# a person faces +z, the left arm at +x.
#
# This file is written in what GDScript 3 and 4 share: it knows bases and vectors, and no node.

const JOINTS = 24
const PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
# Joint → bone of SkeletonProfileHumanoid.
const BONES = [
	"Hips", "LeftUpperLeg", "RightUpperLeg", "Spine", "LeftLowerLeg", "RightLowerLeg", "Chest", "LeftFoot", "RightFoot",
	"UpperChest", "LeftToes", "RightToes", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftUpperArm",
	"RightUpperArm", "LeftLowerArm", "RightLowerArm", "LeftHand", "RightHand", "LeftMiddleProximal",
	"RightMiddleProximal",
]
const FEET = [10, 11]
# Limbs whose direction in the rest pose is compared with the T-pose: joint → the joint that it points to.
const LIMBS = {1: 4, 2: 5, 4: 7, 5: 8, 16: 18, 17: 19, 18: 20, 19: 21, 20: 22, 21: 23}
const LEGS = [[1, 4], [4, 7], [2, 5], [5, 8]]
const AWAY_S = 2.0  # after which a person's character goes to the next one
const SOLE_M = 0.02  # from the joint at the ball of the foot down to the floor

var _holders = {}  # place → [person, when last seen]


# The people of a message → one dictionary each: id, turns (24 bases: each joint against the T-pose, in the world),
# joints (24 vectors, world), offsets (24 vectors: each joint from its parent in the T-pose; no body model is needed).
func bodies(people):
	var found = []
	for person in range(people.count):
		var joints = []
		var camera = []
		var turns = []
		for joint in range(JOINTS):
			var at = (person * JOINTS + joint) * 3
			joints.append(_vector(people.joints_world, at))
			camera.append(_vector(people.joints_camera, at))
			turns.append(_from_axis_angle(_vector(people.poses, at)))
		# Both frames have the same joints, so that they say how the camera is turned in the world.
		turns[0] = _frame(joints) * _frame(camera).transposed() * turns[0]
		var offsets = [Vector3()]
		for joint in range(1, JOINTS):
			var above = PARENTS[joint]
			turns[joint] = turns[above] * turns[joint]
			offsets.append(turned(turns[above].transposed(), joints[joint] - joints[above]))
		found.append({"id": people.ids[person], "turns": turns, "joints": joints, "offsets": offsets})
	return found


# What a skeleton has to know of its rest pose, once per person: a dictionary for `local` and `hips`.
#
# heads, bases: of each joint's bone in the rest pose, in the skeleton's space; null: there is no such bone. parents:
# the basis of the bone above it. roots: where that bone is. above: the joint of the nearest bone above that is driven;
# -1: none.
func rig(heads, bases, parents, roots, above, offsets):
	var front = Basis()
	if heads[1] != null and heads[2] != null and heads[1].x < heads[2].x:
		front = Basis(Vector3(0, 1, 0), PI)  # it faces -z
	var aligned = []
	for joint in range(JOINTS):
		var align = aligned[above[joint]] if above[joint] >= 0 else Basis()
		var towards = LIMBS.get(joint, -1)
		if towards >= 0 and heads[joint] != null and heads[towards] != null:
			align = _shortest(heads[towards] - heads[joint], turned(front, offsets[towards]))
		aligned.append(align)
	var leg = 0.0
	var persons = 0.0
	for bone in LEGS:
		if heads[bone[0]] != null and heads[bone[1]] != null:
			leg += (heads[bone[1]] - heads[bone[0]]).length()
			persons += offsets[bone[1]].length()
	return {
		"heads": heads, "bases": bases, "parents": parents, "roots": roots, "above": above, "front": front,
		"aligned": aligned, "scale": leg / persons if persons > 0.001 and leg > 0.0 else 1.0,
	}


# The rotation of each joint's bone against the bone above it, as Skeleton3D.set_bone_pose_rotation takes it; null: there
# is no such bone.
func local(one, body):
	var found = []
	for joint in range(JOINTS):
		if one.bases[joint] == null:
			found.append(null)
			continue
		var above = one.above[joint]
		var turn = one.parents[joint].transposed()
		if above >= 0:
			turn = turn * one.bases[above] * _posed(one, body, above).transposed()
		found.append((turn * _posed(one, body, joint)).orthonormalized())
	return found


# Where the hips' bone goes against the bone above it. start: the place, metres, that becomes the skeleton's origin.
func hips(one, body, start):
	var target = _placed(one, body.joints[0] - start)
	if one.heads[1] != null and one.heads[2] != null:  # skeletons put the hips at different heights above the legs
		var apart = (one.heads[1] + one.heads[2]) * 0.5 - one.heads[0]
		var turn = _posed(one, body, 0) * one.bases[0].transposed()
		target = _placed(one, (body.joints[1] + body.joints[2]) * 0.5 - start) - turned(turn, apart)
	return turned(one.parents[0].transposed(), target - one.roots[0])


# The place, metres, at which a person stands: below the hips, at the height of the lower foot.
func stand(body):
	var low = min(body.joints[FEET[0]].y, body.joints[FEET[1]].y) - SOLE_M
	return Vector3(body.joints[0].x, low, body.joints[0].z)


# Person → place, of `count` places, for those who have one. A person keeps it until the person has been away for
# AWAY_S.
func places(ids, time_s, count):
	var found = {}
	for place in range(count):
		if not _holders.has(place):
			continue
		var holder = _holders[place]
		if ids.has(holder[0]):
			holder[1] = time_s
			found[holder[0]] = place
		elif time_s - holder[1] > AWAY_S or time_s < holder[1]:
			_holders.erase(place)
	for person in ids:
		for place in range(count):
			if not found.has(person) and not _holders.has(place):
				_holders[place] = [person, time_s]
				found[person] = place
	return found


# A vector turned by a basis. Godot 3 and 4 write it differently.
func turned(basis, vector):
	return basis.x * vector.x + basis.y * vector.y + basis.z * vector.z


# The orientation of a joint's bone in the skeleton's space.
func _posed(one, body, joint):
	return one.front * body.turns[joint] * one.front.transposed() * one.aligned[joint] * one.bases[joint]


func _placed(one, metres):
	return turned(one.front, metres) * one.scale


func _vector(values, at):
	return Vector3(values[at], values[at + 1], values[at + 2])


func _from_axis_angle(vector):
	var angle = vector.length()
	return Basis(vector / angle, angle) if angle > 0.0000001 else Basis()


# Axes that are fixed to the trunk: from the pelvis to the neck, and to the left between the shoulders.
func _frame(joints):
	var up = (joints[12] - joints[0]).normalized()
	var front = (joints[16] - joints[17]).cross(up).normalized()
	return Basis(up.cross(front), up, front)


# The rotation by the smallest angle from one direction to another.
func _shortest(from, to):
	var axis = from.cross(to)
	if axis.length() < 0.000001 * from.length() * to.length() or axis.length() == 0.0:
		return Basis()
	return Basis(axis.normalized(), from.angle_to(to))
