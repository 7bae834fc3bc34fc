// Bodies of a refit_rt stream for Unreal, without Unreal: people in its axes, a place for each of them, and the turns of
// a character's bones. It needs refit_rt.hpp alone. The rest of the plug-in hands this to Live Link.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "refit_rt.hpp"

namespace refit_rt {

// SMPL's joints under the names of Unreal's mannequin.
constexpr std::array<const char*, joint_count> mannequin = {
    "pelvis",     "thigh_l",    "thigh_r",    "spine_01", "calf_l",      "calf_r", "spine_02",   "foot_l",
    "foot_r",     "spine_03",   "ball_l",     "ball_r",   "neck_01",     "clavicle_l", "clavicle_r", "head",
    "upperarm_l", "upperarm_r", "lowerarm_l", "lowerarm_r", "hand_l",    "hand_r", "middle_01_l", "middle_01_r"};

constexpr double ankle_cm = 7;           // of a standing person, from the joint down to the floor
constexpr double rise_cm_per_s = 2;      // at which the floor is given up where no foot has touched it
constexpr double away_s = 2;             // after which a person's place goes to another one

// A bone relative to its parent.
struct Bone {
    Vec3 place{};                // centimetres
    Quat turn{{0, 0, 0, 1}};
};

using Bones = std::array<Bone, joint_count>;

inline Vec3 turned(const Mat3& m, const Vec3& v) {
    Vec3 out{};
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) out[i] += m[i][j] * v[j];
    return out;
}

inline Vec3 sum(const Vec3& a, const Vec3& b) { return {a[0] + b[0], a[1] + b[1], a[2] + b[2]}; }
inline Vec3 between(const Vec3& from, const Vec3& to) { return {to[0] - from[0], to[1] - from[1], to[2] - from[2]}; }
inline double dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
inline double length(const Vec3& v) { return std::sqrt(dot(v, v)); }

inline Vec3 cross(const Vec3& a, const Vec3& b) {
    return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

constexpr Mat3 identity = {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};

inline Mat3 matrix_of(const Quat& q) {
    const double x = q[0], y = q[1], z = q[2], w = q[3];
    return {{{1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)},
             {2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)},
             {2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)}}};
}

// The shortest turn from one direction to another; none where one has no length or they point apart.
inline Mat3 shortest_turn(const Vec3& from, const Vec3& to) {
    const double lengths = length(from) * length(to);
    if (!(lengths > 1e-9)) return identity;
    const Vec3 axis = cross(from, to);
    const double cosine = dot(from, to) / lengths;
    if (cosine < -0.99) return identity;
    const Mat3 k = {{{0, -axis[2] / lengths, axis[1] / lengths},
                     {axis[2] / lengths, 0, -axis[0] / lengths},
                     {-axis[1] / lengths, axis[0] / lengths, 0}}};
    const Mat3 kk = product(k, k);
    Mat3 out = identity;
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) out[i][j] += k[i][j] + kk[i][j] / (1 + cosine);
    return out;
}

// ---------------------------------------------------------------------------------------------------------------------
// People

// One person in Unreal's axes: z up, left-handed. In the T-pose they face +x, and the left arm points to -y.
struct Body {
    std::int64_t id = 0;
    float confidence = 0;
    std::array<Vec3, joint_count> joints{};  // centimetres, in the world
    std::array<Mat3, joint_count> locals{};  // relative to the parent joint; joint 0: in the world
    bool floor_known = false;                // the floor is level at z = 0; else the origin and the level are the world's
};

// Person `row` of a message. False where a number is not finite.
inline bool body_of(const Message& message, std::size_t row, Body& body) {
    const People& people = message.people;
    Mat3 level = identity;
    double floor_m = 0;
    body = Body{};
    if (message.floor.size() == 4) {
        const Vec3 normal = {message.floor[0], message.floor[1], message.floor[2]};
        body.floor_known = std::abs(length(normal) - 1) < 0.01 && normal[1] > 0.5;  // else it is no floor
        if (body.floor_known) level = shortest_turn(normal, {0, 1, 0}), floor_m = message.floor[3];
    }
    body.id = people.ids[row];
    body.confidence = people.confidence[row];
    for (std::size_t joint = 0; joint < joint_count; ++joint) {
        Vec3 place = turned(level, joint_of(people.joints_world, row, joint));
        place[1] -= floor_m;
        body.joints[joint] = unreal.point(place);
        const Mat3 local = joint_rotation(people, row, joint);
        body.locals[joint] = unreal.rotation(joint == 0 ? product(level, local) : local);
        for (int i = 0; i < 3; ++i)
            if (!std::isfinite(body.joints[joint][i]) || !std::isfinite(length(body.locals[joint][i]))) return false;
    }
    return true;
}

// The same person as bones, with `start` as the origin. Every bone lies along the world's axes in the T-pose.
inline Bones bones_of(const Body& body, const Vec3& start) {
    Bones bones;
    std::array<Mat3, joint_count> turns;
    for (std::size_t joint = 0; joint < joint_count; ++joint) {
        const int parent = parents[joint];
        turns[joint] = parent < 0 ? body.locals[joint] : product(turns[parent], body.locals[joint]);
        bones[joint].turn = quaternion_of(body.locals[joint]);
        bones[joint].place = parent < 0 ? between(start, body.joints[joint])
                                        : turned(transposed(turns[parent]), between(body.joints[parent], body.joints[joint]));
    }
    return bones;
}

// Gives each person a place, from 0 on, and keeps it for them until they are away for away_s.
class Crowd {
public:
    struct Shown {
        std::size_t place = 0;
        std::int64_t id = 0;
        float confidence = 0;
        Bones bones;
    };

    // in_world: people stand where they are in the stream's world. Else each one starts at the origin.
    explicit Crowd(bool in_world = false) : in_world_(in_world) {}

    // The people of a message.
    std::vector<Shown> update(const Message& message, double now_s) {
        if (message.frame < frame_) holders_.clear();  // another run, whose ids begin again
        frame_ = message.frame;
        std::vector<Shown> shown;
        Body body;
        for (std::size_t row = 0; row < message.people.size(); ++row) {
            if (!body_of(message, row, body)) continue;
            const std::size_t place = place_of(body.id, now_s);
            Holder& holder = holders_[place];
            set_start(holder, body, now_s);
            shown.push_back({place, body.id, body.confidence, bones_of(body, holder.start)});
        }
        return shown;
    }

    // The places that have a person at this time.
    std::vector<std::size_t> held(double now_s) const {
        std::vector<std::size_t> places;
        for (std::size_t i = 0; i < holders_.size(); ++i)
            if (now_s - holders_[i].seen_s <= away_s) places.push_back(i);
        return places;
    }

private:
    struct Holder {
        std::int64_t id = 0;
        double seen_s = 0;
        bool started = false;
        Vec3 start{};
    };

    std::size_t place_of(std::int64_t id, double now_s) {
        std::size_t free = holders_.size();
        for (std::size_t i = holders_.size(); i-- > 0;) {
            const bool away = now_s - holders_[i].seen_s > away_s;
            if (holders_[i].id == id && !away) return i;
            if (away) free = i;
        }
        if (free == holders_.size()) holders_.emplace_back();
        holders_[free] = Holder{id, now_s, false, {}};
        return free;
    }

    // Without a known floor, the floor is where the lower ankle has been.
    void set_start(Holder& holder, const Body& body, double now_s) const {
        const double floor = std::min(body.joints[7][2], body.joints[8][2]) - ankle_cm;
        if (!holder.started) {
            holder.start = in_world_ ? Vec3{0, 0, floor} : Vec3{body.joints[0][0], body.joints[0][1], floor};
        } else {
            holder.start[2] = std::min(holder.start[2] + rise_cm_per_s * std::max(now_s - holder.seen_s, 0.0), floor);
        }
        if (body.floor_known) holder.start[2] = 0;
        holder.started = true;
        holder.seen_s = now_s;
    }

    bool in_world_;
    std::int64_t frame_ = 0;
    std::vector<Holder> holders_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Characters

// A character's bones, parents before children, in its reference pose.
struct Rig {
    std::vector<std::string> names;
    std::vector<int> parents;  // -1: none
    std::vector<Bone> bones;
};

// Turns a character's bones as a person's. Its bones may have any axes, its reference pose may be an A-pose, and it may
// face any way: the mannequin faces +y. Legs and arms are laid along the person's T-pose first; the spine, the head and the
// feet keep the character's own shape. A bone that is not in the map keeps its turn relative to its parent.
class Retarget {
public:
    Retarget() = default;

    explicit Retarget(const Rig& rig) : rig_(rig), joint_of_bone_(rig.names.size(), none) {
        bone_of_joint_.fill(none);
        for (std::size_t bone = 0; bone < rig.names.size(); ++bone) {
            const int parent = rig.parents[bone];
            const Mat3 turn = matrix_of(rig.bones[bone].turn);
            turns_.push_back(parent < 0 ? turn : product(turns_[parent], turn));
            places_.push_back(parent < 0 ? rig.bones[bone].place
                                         : sum(places_[parent], turned(turns_[parent], rig.bones[bone].place)));
            for (std::size_t joint = 0; joint < joint_count; ++joint)
                if (rig.names[bone] == mannequin[joint]) bone_of_joint_[joint] = static_cast<int>(bone);
        }
        for (std::size_t joint = 0; joint < joint_count; ++joint) {
            if (bone_of_joint_[joint] == none) missing_.push_back(mannequin[joint]);
            else if (joint < knuckles) joint_of_bone_[bone_of_joint_[joint]] = static_cast<int>(joint);
        }
        for (const int joint : {9, 6, 3}) {  // a spine with fewer bones: the highest one takes the turn of the highest joint
            if (bone_of_joint_[joint] == none) continue;
            joint_of_bone_[bone_of_joint_[joint]] = 9;
            break;
        }
        for (const int joint : {0, 1, 2, 4, 7}) usable_ = usable_ && bone_of_joint_[joint] != none;
        if (!usable_) return;
        Vec3 right = between(place(1), place(2));
        right[2] = 0;
        const double wide = length(right);
        usable_ = wide > 1e-6;
        if (usable_) right = {right[0] / wide, right[1] / wide, 0};
        const Vec3 up = {0, 0, 1};
        facing_ = transposed({cross(right, up), right, up});
        leg_cm_ = length(between(place(1), place(4))) + length(between(place(4), place(7)));
        ankle_cm_ = place(7)[2];
    }

    // False: it lacks the pelvis or a bone of the legs.
    bool usable() const { return usable_; }
    // The bones of the map that the character does not have.
    const std::vector<std::string>& missing() const { return missing_; }

    // The bones of the rig, relative to their parents. keep_distances: people stand as far apart as in the world; else a
    // small character makes small steps, and its feet do not slide.
    void pose(const Bones& person, bool keep_distances, std::vector<Bone>& out) const {
        out = rig_.bones;
        if (!usable_) return;
        std::array<Mat3, joint_count> global;
        for (std::size_t joint = 0; joint < joint_count; ++joint) {
            const Mat3 turn = matrix_of(person[joint].turn);
            global[joint] = parents[joint] < 0 ? turn : product(global[parents[joint]], turn);
        }
        std::vector<Mat3> posed(out.size());
        for (std::size_t bone = 0; bone < out.size(); ++bone) {
            const int parent = rig_.parents[bone], joint = joint_of_bone_[bone];
            const Mat3 above = parent < 0 ? identity : posed[parent];
            posed[bone] = product(above, matrix_of(rig_.bones[bone].turn));
            if (joint == none) continue;
            const Mat3 turn = product(global[joint], laid(person, joint));
            posed[bone] = product(product(facing_, turn), product(transposed(facing_), turns_[bone]));
            out[bone].turn = quaternion_of(product(transposed(above), posed[bone]));
        }
        place_pelvis(person, keep_distances, out);
    }

private:
    static constexpr int none = -1;
    // Joints of legs, arms and hands, each with the next one.
    static constexpr std::array<std::array<int, 2>, 10> limbs = {
        {{1, 4}, {2, 5}, {4, 7}, {5, 8}, {16, 18}, {17, 19}, {18, 20}, {19, 21}, {20, 22}, {21, 23}}};
    static constexpr std::size_t knuckles = 22;  // these joints end a hand and turn nothing

    const Vec3& place(int joint) const { return places_[bone_of_joint_[joint]]; }

    // From the reference pose to the T-pose, in the person's axes.
    Mat3 laid(const Bones& person, int joint) const {
        for (const auto& [from, to] : limbs) {
            if (joint != from || bone_of_joint_[to] == none) continue;
            const Vec3 along = turned(transposed(facing_), between(place(from), place(to)));
            return shortest_turn(along, person[to].place);
        }
        return identity;
    }

    void place_pelvis(const Bones& person, bool keep_distances, std::vector<Bone>& out) const {
        const double person_cm = length(person[4].place) + length(person[7].place);
        const double scale = person_cm > 1 ? leg_cm_ / person_cm : 1, across = keep_distances ? 1 : scale;
        const Vec3& at = person[0].place;
        const Vec3 place = turned(facing_, {across * at[0], across * at[1], ankle_cm_ + scale * (at[2] - ankle_cm)});
        const int bone = bone_of_joint_[0], parent = rig_.parents[bone];
        out[bone].place = parent < 0 ? place : turned(transposed(turns_[parent]), between(places_[parent], place));
    }

    Rig rig_;
    std::vector<Mat3> turns_;   // of the bones in the reference pose, in the character's axes
    std::vector<Vec3> places_;  // the same
    std::vector<int> joint_of_bone_;
    std::array<int, joint_count> bone_of_joint_{};
    std::vector<std::string> missing_;
    Mat3 facing_ = identity;  // from the person's axes, who faces +x, to the character's
    double leg_cm_ = 0, ankle_cm_ = 0;
    bool usable_ = true;
};

}  // namespace refit_rt
