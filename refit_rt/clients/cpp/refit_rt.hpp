// Decodes the messages of a refit_rt stream. C++17, this file alone, no dependency.
//
//   refit_rt::Message message;
//   std::string error = refit_rt::decode(bytes, size, message);
//   if (error.empty()) use(message.people.joints_world);
//
// One message is one safetensors blob: 8 bytes with the length of the header (little-endian), the header as JSON, then
// the arrays, packed and little-endian. `decode` checks every length against the bytes that are there, so that no
// message makes it read beyond them, hang, or allocate more than a small multiple of their number. It throws nothing
// but std::bad_alloc. Messages are read on little-endian machines only (x86, ARM).
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <locale>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace refit_rt {

constexpr std::size_t joint_count = 24;  // SMPL's joints
constexpr std::size_t beta_count = 10;   // SMPL's shape coefficients

constexpr std::array<int, joint_count> parents = {-1, 0, 0, 0,  1,  2,  3,  4,  5,  6,  7,  8,
                                                  9,  9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21};

constexpr std::array<const char*, joint_count> joint_names = {
    "pelvis", "l_hip",   "r_hip",  "spine1", "l_knee",   "r_knee",   "spine2", "l_ankle",    "r_ankle",    "spine3",
    "l_foot", "r_foot",  "neck",   "l_collar", "r_collar", "head",   "l_shoulder", "r_shoulder", "l_elbow", "r_elbow",
    "l_wrist", "r_wrist", "l_hand", "r_hand"};

// n people, one array per quantity; row i belongs to person i.
struct People {
    std::vector<std::int64_t> ids;         // (n) unique in a run, never used again
    std::vector<float> poses;              // (n, 24, 3) axis-angle, radians; joint 0: the body in the camera's frame
    std::vector<float> betas;              // (n, 10)
    std::vector<float> trans;              // (n, 3) metres, places the posed SMPL body in the camera's frame
    std::vector<float> joints_camera;      // (n, 24, 3) metres; x right, y down, z forward
    std::vector<float> joints_px;          // (n, 24, 2) image pixels
    std::vector<float> joints_world;       // (n, 24, 3) metres, y up, right-handed
    std::vector<float> box;                // (n, 4) x0 y0 x1 y1, image pixels
    std::vector<float> confidence;         // (n) 0..1
    std::vector<std::int32_t> iterations;  // (n)
    std::vector<std::int32_t> views;       // (n) bit i: camera i of `cameras` showed the person; empty: not sent
    std::vector<float> contacts;           // (n, 4) 0..1: l_ankle, r_ankle, l_foot, r_foot on the floor; empty: not sent

    std::size_t size() const { return ids.size(); }
};

struct Message {
    std::string status;  // live; waiting: the source is being reopened, no people; ended: the last message of the run
    std::string camera, body, bundle;
    std::int64_t frame = 0;    // counted at the source; a gap is a frame that was never read
    std::int64_t dropped = 0;  // frames lost before this one
    double captured_unix_s = 0;  // when the frame was grabbed: seconds since 1970 on the sender's clock
    double captured_s = 0;       // the same on the sender's monotonic clock
    double time_s = 0;           // seconds since the source's first frame
    double age_s = 0;            // from grab to send
    std::int64_t width_px = 0, height_px = 0;
    double focal_px = 0, centre_x_px = 0, centre_y_px = 0;
    std::vector<std::string> cameras;  // names, the first is `camera`; empty: not sent
    std::vector<std::array<double, 12>> world_from_cameras;  // of each, the upper three rows of its matrix, metres
    std::vector<double> floor;  // world: unit normal x y z, upwards, and metres; empty: not known
    std::map<std::string, std::string> about;  // all metadata as text, also what this version does not know
    People people;
};

// ---------------------------------------------------------------------------------------------------------------------
// Axes

using Vec3 = std::array<double, 3>;
using Mat3 = std::array<Vec3, 3>;    // rows
using Quat = std::array<double, 4>;  // x y z w

inline Mat3 transposed(const Mat3& m) {
    Mat3 out{};
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) out[i][j] = m[j][i];
    return out;
}

inline Mat3 product(const Mat3& a, const Mat3& b) {
    Mat3 out{};
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j)
            for (int k = 0; k < 3; ++k) out[i][j] += a[i][k] * b[k][j];
    return out;
}

// A rotation matrix as a quaternion with w >= 0.
inline Quat quaternion_of(const Mat3& m) {
    // The largest of the four components is found first, so that nothing small is divided by.
    const double trace = m[0][0] + m[1][1] + m[2][2];
    int largest = 3;
    double most = trace;
    for (int i = 0; i < 3; ++i)
        if (m[i][i] > most) most = m[i][i], largest = i;
    Quat q{};
    if (largest == 3) {
        q = {m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], 1 + trace};
    } else {
        const int i = largest, j = (i + 1) % 3, k = (i + 2) % 3;
        q[i] = 1 - trace + 2 * m[i][i];
        q[j] = m[j][i] + m[i][j];
        q[k] = m[k][i] + m[i][k];
        q[3] = m[k][j] - m[j][k];
    }
    double length = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    if (q[3] < 0) length = -length;
    for (double& value : q) value /= length;
    return q;
}

// The frame of an engine or a file. A mirrored frame (unity, unreal) needs no extra sign: A R A^T is a rotation again.
struct Axes {
    const char* name;
    Mat3 target_from_world;  // of 0, 1 and -1
    double units_per_m;

    // A point of the world, metres, in the target's frame and unit.
    Vec3 point(const Vec3& world) const {
        Vec3 out{};
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) out[i] += target_from_world[i][j] * world[j] * units_per_m;
        return out;
    }

    // A rotation, of the world or of a joint relative to its parent, in the target's frame.
    Mat3 rotation(const Mat3& world) const {
        return product(product(target_from_world, world), transposed(target_from_world));
    }

    Quat quaternion(const Mat3& world) const { return quaternion_of(rotation(world)); }
};

// A person in the T-pose: up, handedness, where the face looks, where the left arm points.
inline constexpr Axes gltf{"gltf", {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}, 1};           // y, right, +z, +x; also Godot
inline constexpr Axes opencv{"opencv", {{{1, 0, 0}, {0, -1, 0}, {0, 0, -1}}}, 1};     // -y, right, -z, +x
inline constexpr Axes unity{"unity", {{{-1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}, 1};        // y, left, +z, -x
inline constexpr Axes unreal{"unreal", {{{0, 0, 1}, {-1, 0, 0}, {0, 1, 0}}}, 100};    // z, left, +x, -y; centimetres
inline constexpr Axes blender{"blender", {{{1, 0, 0}, {0, 0, -1}, {0, 1, 0}}}, 1};    // z, right, -y, +x

inline constexpr std::array<const Axes*, 5> all_axes = {&gltf, &opencv, &unity, &unreal, &blender};

// The axes of that name, or nullptr.
inline const Axes* axes_named(std::string_view name) {
    for (const Axes* axes : all_axes)
        if (name == axes->name) return axes;
    return nullptr;
}

// Axis-angle, radians, as a rotation matrix (Rodrigues).
inline Mat3 rotation_of(const Vec3& v) {
    const double angle = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    const double s = angle < 1e-8 ? 1 : std::sin(angle) / angle;
    const double c = angle < 1e-8 ? 0.5 : (1 - std::cos(angle)) / (angle * angle);
    const Mat3 k = {{{0, -v[2], v[1]}, {v[2], 0, -v[0]}, {-v[1], v[0], 0}}};
    const Mat3 kk = product(k, k);
    Mat3 out{};
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) out[i][j] = (i == j) + s * k[i][j] + c * kk[i][j];
    return out;
}

// Row `joint` of person `person` in an array (n, 24, 3): poses, joints_camera or joints_world.
inline Vec3 joint_of(const std::vector<float>& array, std::size_t person, std::size_t joint) {
    const float* row = array.data() + (person * joint_count + joint) * 3;
    return {row[0], row[1], row[2]};
}

namespace detail {

// The body's own frame: a right-handed orthonormal basis from the hips and the neck, its axes in columns.
inline Mat3 torso(const std::vector<float>& joints, std::size_t person) {
    const Vec3 pelvis = joint_of(joints, person, 0), neck = joint_of(joints, person, 12);
    const Vec3 left = joint_of(joints, person, 1), right = joint_of(joints, person, 2);
    Vec3 x{}, y{};
    for (int i = 0; i < 3; ++i) x[i] = left[i] - right[i], y[i] = neck[i] - pelvis[i];
    const auto unit = [](Vec3& v) {
        const double length = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        for (double& value : v) value /= length;
    };
    unit(x);
    const double along = x[0] * y[0] + x[1] * y[1] + x[2] * y[2];
    for (int i = 0; i < 3; ++i) y[i] -= along * x[i];
    unit(y);
    const Vec3 z = {x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]};
    return transposed({x, y, z});
}

}  // namespace detail

// How a message's camera is turned in the world. Both joint arrays are the same body, so one person says it.
inline Mat3 world_from_camera(const People& people, std::size_t person) {
    return product(detail::torso(people.joints_world, person), transposed(detail::torso(people.joints_camera, person)));
}

// The rotation of a joint relative to its parent; of joint 0, in the world. Give it to Axes::rotation or ::quaternion.
inline Mat3 joint_rotation(const People& people, std::size_t person, std::size_t joint) {
    const Mat3 local = rotation_of(joint_of(people.poses, person, joint));
    return joint == 0 ? product(world_from_camera(people, person), local) : local;
}

// ---------------------------------------------------------------------------------------------------------------------
// Decoding

namespace detail {

constexpr int deepest = 32;  // brackets inside brackets that are skipped; a message has two

// Reads JSON from front to back. Every function returns false where the text is not what it expects.
class Json {
public:
    Json(const char* begin, const char* end) : at_(begin), end_(end) {}

    bool take(char wanted) {
        space();
        if (at_ == end_ || *at_ != wanted) return false;
        ++at_;
        return true;
    }

    bool ended() {
        space();
        return at_ == end_;
    }

    // A text as UTF-8.
    bool string(std::string& out) {
        out.clear();
        if (!take('"')) return false;
        while (true) {
            const char* first = at_;
            while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<unsigned char>(*at_) >= 0x20) ++at_;
            out.append(first, at_);
            if (at_ == end_) return false;
            const char c = *at_++;
            if (c == '"') return true;
            if (c != '\\' || !escape(out)) return false;
        }
    }

    // A whole number of up to 18 digits.
    bool number(std::uint64_t& out) {
        space();
        const char* first = at_;
        for (out = 0; at_ != end_ && *at_ >= '0' && *at_ <= '9'; ++at_) {
            if (at_ - first >= 18) return false;
            out = out * 10 + static_cast<std::uint64_t>(*at_ - '0');
        }
        return at_ != first;
    }

    // `entry(key)` reads each value.
    template <class Entry>
    bool object(Entry entry) {
        if (!take('{')) return false;
        if (take('}')) return true;
        std::string key;
        do {
            if (!string(key) || !take(':') || !entry(key)) return false;
        } while (take(','));
        return take('}');
    }

    template <class Item>
    bool array(Item item) {
        if (!take('[')) return false;
        if (take(']')) return true;
        do {
            if (!item()) return false;
        } while (take(','));
        return take(']');
    }

    // Any value.
    bool skip(int depth = 0) {
        space();
        if (depth > deepest || at_ == end_) return false;
        std::string text;
        if (*at_ == '"') return string(text);
        if (*at_ == '{') return object([&](const std::string&) { return skip(depth + 1); });
        if (*at_ == '[') return array([&] { return skip(depth + 1); });
        const char* first = at_;
        while (at_ != end_ && (std::strchr("+-.", *at_) ? *at_ != 0 : word(*at_))) ++at_;
        return at_ != first;
    }

private:
    static bool word(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

    void space() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
    }

    bool hex(std::uint32_t& out) {
        if (end_ - at_ < 4) return false;
        out = 0;
        for (int i = 0; i < 4; ++i) {
            const char c = *at_++;
            const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
            if (digit < 0) return false;
            out = out * 16 + static_cast<std::uint32_t>(digit);
        }
        return true;
    }

    bool escape(std::string& out) {
        if (at_ == end_) return false;
        static constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
        const char c = *at_++;
        if (c == 'u') return unicode(out);
        const std::size_t found = names.find(c);
        if (found == names.npos) return false;
        out += values[found];
        return true;
    }

    bool unicode(std::string& out) {
        std::uint32_t code = 0, low = 0;
        if (!hex(code)) return false;
        if (code >= 0xD800 && code < 0xE000) {  // the first half of a pair, or half a pair alone
            if (code >= 0xDC00 || end_ - at_ < 6 || at_[0] != '\\' || at_[1] != 'u') return false;
            at_ += 2;
            if (!hex(low) || low < 0xDC00 || low > 0xDFFF) return false;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
        if (code < 0x80) {
            put(code);
        } else if (code < 0x800) {
            put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
        } else if (code < 0x10000) {
            put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
        } else {
            put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F));
            put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
        }
        return true;
    }

    const char *at_, *end_;
};

// Where an array lies.
struct Entry {
    std::string dtype;
    std::vector<std::uint64_t> shape;
    std::vector<std::uint64_t> offsets;
};

inline bool read_numbers(Json& json, std::vector<std::uint64_t>& out) {
    out.clear();
    return json.array([&] {
        std::uint64_t value = 0;
        if (out.size() == 8 || !json.number(value)) return false;
        out.push_back(value);
        return true;
    });
}

inline bool read_entry(Json& json, Entry& entry) {
    return json.object([&](const std::string& key) {
        if (key == "dtype") return json.string(entry.dtype);
        if (key == "shape") return read_numbers(json, entry.shape);
        if (key == "data_offsets") return read_numbers(json, entry.offsets);
        return json.skip();
    });
}

// The names of the arrays that are read: another one, of a newer version, is skipped.
inline bool is_read(const std::string& name) {
    for (const char* one : {"ids", "poses", "betas", "trans", "joints_camera", "joints_px", "joints_world", "box",
                            "confidence", "iterations", "views", "contacts"})
        if (name == one) return true;
    return false;
}

inline bool read_header(Json& json, std::map<std::string, std::string>& about, std::map<std::string, Entry>& entries) {
    const bool whole = json.object([&](const std::string& name) {
        if (name == "__metadata__")
            return json.object([&](const std::string& key) { return json.string(about[key]); });
        return is_read(name) ? read_entry(json, entries[name]) : json.skip();
    });
    return whole && json.ended();
}

template <class T>
constexpr const char* dtype_of();
template <>
constexpr const char* dtype_of<std::int64_t>() { return "I64"; }
template <>
constexpr const char* dtype_of<std::int32_t>() { return "I32"; }
template <>
constexpr const char* dtype_of<float>() { return "F32"; }

// Copies the array `name` of `count` rows of shape `row` from the `size` bytes at `data`.
template <class T>
std::string load(const std::map<std::string, Entry>& entries, const char* name, std::uint64_t count,
                 const std::vector<std::uint64_t>& row, const char* data, std::uint64_t size, std::vector<T>& out) {
    const auto found = entries.find(name);
    if (found == entries.end()) return std::string("incomplete message: no array '") + name + "'";
    const Entry& entry = found->second;
    std::vector<std::uint64_t> shape = {count};
    std::uint64_t width = 1;
    for (const std::uint64_t length : row) shape.push_back(length), width *= length;
    if (entry.dtype != dtype_of<T>() || entry.shape != shape || entry.offsets.size() != 2)
        return std::string("the array '") + name + "' has another type or shape than this version reads";
    const std::uint64_t start = entry.offsets[0], end = entry.offsets[1], row_bytes = width * sizeof(T);
    if (start > end || end > size || count > size / row_bytes || end - start != count * row_bytes)
        return std::string("the array '") + name + "' does not lie within the message";
    out.resize(static_cast<std::size_t>(count * width));
    if (!out.empty()) std::memcpy(out.data(), data + start, static_cast<std::size_t>(end - start));
    return "";
}

inline std::string text_of(const std::map<std::string, std::string>& about, const char* key, std::string& out) {
    const auto found = about.find(key);
    if (found == about.end()) return std::string("incomplete message: no '") + key + "'";
    out = found->second;
    return "";
}

constexpr std::size_t most_cameras = 1024;  // a text that claims more would take much memory

// Splits a text at every `mark`, into `most` + 1 parts at most.
inline std::vector<std::string> parts_of(const std::string& text, char mark, std::size_t most) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c != mark) {
            parts.back() += c;
        } else if (parts.size() > most) {
            break;
        } else {
            parts.emplace_back();
        }
    }
    return parts;
}

// Finite numbers with spaces between them: exactly as many as `out` has.
template <class Numbers>
bool numbers_of(const std::string& text, Numbers& out) {
    const std::vector<std::string> parts = parts_of(text, ' ', out.size());
    if (parts.size() != out.size()) return false;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        std::istringstream in(parts[i]);
        in.imbue(std::locale::classic());  // a decimal point, whatever the user's language
        if (!(in >> out[i]) || in.peek() != std::char_traits<char>::eof() || !std::isfinite(out[i])) return false;
    }
    return true;
}

// `cameras`, `world_from_cameras` and `floor`, which may be absent. Returns what is wrong, or an empty text.
inline std::string read_places(Message& message) {
    const auto& about = message.about;
    const auto names = about.find("cameras"), places = about.find("world_from_cameras"), floor = about.find("floor");
    if (names != about.end() && !names->second.empty()) {
        message.cameras = parts_of(names->second, ',', most_cameras);
        if (message.cameras.size() > most_cameras) return "'cameras' has too many names";
        if (places == about.end()) return "incomplete message: no 'world_from_cameras'";
        for (const std::string& place : parts_of(places->second, ',', most_cameras))
            if (!numbers_of(place, message.world_from_cameras.emplace_back()))
                return "'world_from_cameras' has a place that is not 12 numbers";
        if (message.world_from_cameras.size() != message.cameras.size())
            return "'world_from_cameras' has another number of places than 'cameras' of names";
    }
    if (floor != about.end()) {
        message.floor.resize(4);
        if (!numbers_of(floor->second, message.floor)) return "'floor' is not 4 numbers";
    }
    return "";
}

template <class T>
std::string number_of(const std::map<std::string, std::string>& about, const char* key, T& out) {
    std::string text;
    if (std::string error = text_of(about, key, text); !error.empty()) return error;
    std::istringstream in(text);
    in.imbue(std::locale::classic());  // a decimal point, whatever the user's language
    if (in >> out && in.peek() == std::char_traits<char>::eof()) return "";
    return std::string("'") + key + "' is not a number";
}

}  // namespace detail

// Reads the message in `size` bytes at `data`. Returns an empty text, or what is wrong; `message` is unchanged then.
inline std::string decode(const void* data, std::size_t size, Message& message) {
    using namespace detail;
    const char* bytes = static_cast<const char*>(data);
    std::uint64_t length = 0;
    if (size >= 8)
        for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    if (length < 2 || length > size - 8) return "not a refit_rt message. Check the address";
    Message read;
    std::map<std::string, Entry> entries;
    Json json(bytes + 8, bytes + 8 + length);
    if (!read_header(json, read.about, entries)) return "not a refit_rt message: its header cannot be read";
    if (read.about["schema"] != "refit_rt.people/1")
        return "schema '" + read.about["schema"] +
               "', but this file reads 'refit_rt.people/1'. Copy the client again from the sender's version";
    std::string error;
    const auto text = [&](const char* key, std::string& out) {
        if (error.empty()) error = text_of(read.about, key, out);
    };
    const auto number = [&](const char* key, auto& out) {
        if (error.empty()) error = number_of(read.about, key, out);
    };
    text("status", read.status), text("camera", read.camera), text("body", read.body), text("bundle", read.bundle);
    number("frame", read.frame), number("dropped", read.dropped);
    number("captured_unix_s", read.captured_unix_s), number("captured_s", read.captured_s);
    number("time_s", read.time_s), number("age_s", read.age_s);
    number("width_px", read.width_px), number("height_px", read.height_px), number("focal_px", read.focal_px);
    number("centre_x_px", read.centre_x_px), number("centre_y_px", read.centre_y_px);

    const auto ids = entries.find("ids");
    const std::uint64_t count = ids == entries.end() || ids->second.shape.empty() ? 0 : ids->second.shape[0];
    const auto array = [&](const char* name, const std::vector<std::uint64_t>& row, auto& out) {
        if (error.empty()) error = load(entries, name, count, row, bytes + 8 + length, size - 8 - length, out);
    };
    People& people = read.people;
    array("ids", {}, people.ids);
    array("poses", {joint_count, 3}, people.poses);
    array("betas", {beta_count}, people.betas);
    array("trans", {3}, people.trans);
    array("joints_camera", {joint_count, 3}, people.joints_camera);
    array("joints_px", {joint_count, 2}, people.joints_px);
    array("joints_world", {joint_count, 3}, people.joints_world);
    array("box", {4}, people.box);
    array("confidence", {}, people.confidence);
    array("iterations", {}, people.iterations);
    if (entries.count("views")) array("views", {}, people.views);
    if (entries.count("contacts")) array("contacts", {4}, people.contacts);
    if (error.empty()) error = read_places(read);
    if (error.empty()) message = std::move(read);
    return error;
}

}  // namespace refit_rt
