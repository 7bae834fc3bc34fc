// Prints the message in a file as JSON: every field, and every person in the axes of every target.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "refit_rt.hpp"

template <class T>
void list(const char* name, const T& values) {
    std::printf(",\"%s\":[", name);
    const char* comma = "";
    for (const auto value : values) std::printf("%s%.17g", comma, static_cast<double>(value)), comma = ",";
    std::printf("]");
}

int main(int, char** arguments) {
    std::ifstream file(arguments[1], std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    refit_rt::Message m;
    if (const std::string error = refit_rt::decode(bytes.data(), bytes.size(), m); !error.empty()) {
        std::fprintf(stderr, "%s\n", error.c_str());
        return 1;
    }
    std::printf("{\"status\":\"%s\",\"camera\":\"%s\",\"body\":\"%s\",\"bundle\":\"%s\"", m.status.c_str(),
                m.camera.c_str(), m.body.c_str(), m.bundle.c_str());
    list("numbers", std::vector<double>{double(m.frame), double(m.dropped), m.captured_unix_s, m.captured_s, m.time_s,
                                        m.age_s, double(m.width_px), double(m.height_px), m.focal_px, m.centre_x_px,
                                        m.centre_y_px});
    const refit_rt::People& p = m.people;
    list("ids", p.ids), list("poses", p.poses), list("betas", p.betas), list("trans", p.trans);
    list("joints_camera", p.joints_camera), list("joints_px", p.joints_px), list("joints_world", p.joints_world);
    list("box", p.box), list("confidence", p.confidence), list("iterations", p.iterations);
    list("views", p.views), list("contacts", p.contacts), list("floor", m.floor);
    std::vector<double> places;
    for (const auto& place : m.world_from_cameras) places.insert(places.end(), place.begin(), place.end());
    list("world_from_cameras", places);
    std::printf(",\"cameras\":[");
    for (std::size_t i = 0; i < m.cameras.size(); ++i) std::printf("%s\"%s\"", i ? "," : "", m.cameras[i].c_str());
    std::printf("]");
    for (const refit_rt::Axes* axes : refit_rt::all_axes) {
        std::vector<double> points, quaternions;
        for (std::size_t person = 0; person < p.size(); ++person)
            for (std::size_t joint = 0; joint < refit_rt::joint_count; ++joint) {
                const auto point = axes->point(refit_rt::joint_of(p.joints_world, person, joint));
                const auto turn = axes->quaternion(refit_rt::joint_rotation(p, person, joint));
                points.insert(points.end(), point.begin(), point.end());
                quaternions.insert(quaternions.end(), turn.begin(), turn.end());
            }
        list((std::string(axes->name) + "_points").c_str(), points);
        list((std::string(axes->name) + "_quaternions").c_str(), quaternions);
    }
    std::printf("}\n");
    return 0;
}
