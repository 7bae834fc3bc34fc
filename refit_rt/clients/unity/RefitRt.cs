// Decodes the messages of a refit_rt stream and turns bodies into Unity's axes. C# 7.2 and .NET Standard 2.0, this file
// alone, no dependency, not even on Unity.
//
//   if (Message.TryDecode(bytes, bytes.Length, out Message message, out string error)) Use(message.People.JointsWorld);
//
// One message is one safetensors blob: 8 bytes with the length of the header (little-endian), the header as JSON, then
// the arrays, packed and little-endian. Every length is checked against the bytes that are there before anything is
// allocated, so that no message makes it read beyond them, hang, throw, or allocate more than a small multiple of their
// number. Messages are read on little-endian machines only (x86, ARM).
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace RefitRt
{
    /// <summary>SMPL's joints.</summary>
    public static class Smpl
    {
        public const int JointCount = 24;
        public const int BetaCount = 10;

        public static readonly string[] JointNames =
        {
            "pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3",
            "l_foot", "r_foot", "neck", "l_collar", "r_collar", "head", "l_shoulder", "r_shoulder", "l_elbow",
            "r_elbow", "l_wrist", "r_wrist", "l_hand", "r_hand",
        };

        public static readonly int[] Parents =
        {
            -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
        };
    }

    /// <summary>n people, one flat array per quantity; row i belongs to person i.</summary>
    public sealed class People
    {
        public long[] Ids;           // (n) unique in a run, never used again
        public float[] Poses;        // (n, 24, 3) axis-angle, radians; joint 0: the body in the camera's frame
        public float[] Betas;        // (n, 10)
        public float[] Trans;        // (n, 3) metres, places the posed SMPL body in the camera's frame
        public float[] JointsCamera; // (n, 24, 3) metres; x right, y down, z forward
        public float[] JointsPx;     // (n, 24, 2) image pixels
        public float[] JointsWorld;  // (n, 24, 3) metres; y up, right-handed
        public float[] Box;          // (n, 4) x0 y0 x1 y1, image pixels
        public float[] Confidence;   // (n) 0..1
        public int[] Iterations;     // (n)
        public int[] Views;          // (n) bit i: camera i of Cameras showed the person; null: not sent
        public float[] Contacts;     // (n, 4) 0..1: l_ankle, r_ankle, l_foot, r_foot on the floor; null: not sent

        public int Count { get { return Ids.Length; } }
    }

    /// <summary>One frame of a camera or a rig.</summary>
    public sealed class Message
    {
        public string Status; // live; waiting: the source is being reopened, no people; ended: the last message of the run
        public string Camera, Body, Bundle;
        public long Frame;           // counted at the source; a gap is a frame that was never read
        public long Dropped;         // frames lost before this one
        public double CapturedUnixS; // when the frame was grabbed: seconds since 1970 on the sender's clock
        public double CapturedS;     // the same on the sender's monotonic clock
        public double TimeS;         // seconds since the source's first frame
        public double AgeS;          // from grab to send
        public long WidthPx, HeightPx;
        public double FocalPx, CentreXPx, CentreYPx;
        public string[] Cameras = new string[0];             // the first is Camera; empty: not sent
        public double[][] WorldFromCameras = new double[0][]; // of each, the upper three rows of its matrix (12), metres
        public double[] Floor;                               // world: unit normal x y z, upwards, and metres; null: not known
        public Dictionary<string, string> About;             // all metadata as text, also what this version does not know
        public People People = new People();

        /// <summary>Reads the first `length` of the bytes. False: `error` says what is wrong. It throws nothing.</summary>
        public static bool TryDecode(byte[] bytes, int length, out Message message, out string error)
        {
            message = null;
            var reader = new MessageReader(bytes, length);
            Message read = reader.Read();
            error = reader.Error;
            if (error != null) return false;
            message = read;
            return true;
        }
    }

    /// <summary>Reads one message; Error is the first thing that is wrong with it, or null.</summary>
    internal sealed class MessageReader
    {
        private const string Schema = "refit_rt.people/1";

        private readonly byte[] bytes;
        private readonly int length;
        private readonly Dictionary<string, string> about = new Dictionary<string, string>();
        private readonly Dictionary<string, Entry> entries = new Dictionary<string, Entry>();
        private int data; // where the arrays begin

        internal string Error { get; private set; }

        private sealed class Entry
        {
            internal string Dtype;
            internal List<long> Shape, Offsets;
        }

        internal MessageReader(byte[] bytes, int length)
        {
            this.bytes = bytes;
            this.length = length;
        }

        internal Message Read()
        {
            if (!ReadHeader()) return null;
            string schema;
            about.TryGetValue("schema", out schema);
            if (schema != Schema)
            {
                Error = "schema '" + Short(schema) + "', but this file reads '" + Schema
                    + "'. Copy the client again from the sender's version";
                return null;
            }
            var message = new Message
            {
                About = about,
                Status = Text("status"), Camera = Text("camera"), Body = Text("body"), Bundle = Text("bundle"),
                Frame = Whole("frame"), Dropped = Whole("dropped"),
                CapturedUnixS = Number("captured_unix_s"), CapturedS = Number("captured_s"),
                TimeS = Number("time_s"), AgeS = Number("age_s"),
                WidthPx = Whole("width_px"), HeightPx = Whole("height_px"), FocalPx = Number("focal_px"),
                CentreXPx = Number("centre_x_px"), CentreYPx = Number("centre_y_px"),
            };
            ReadPeople(message.People);
            ReadPlaces(message);
            return message;
        }

        private void Fail(string error)
        {
            if (Error == null) Error = error;
        }

        private static string Short(string text)
        {
            return text == null || text.Length <= 40 ? text : text.Substring(0, 40) + "...";
        }

        private bool ReadHeader()
        {
            ulong header = 0;
            if (length >= 8)
                for (int i = 7; i >= 0; --i) header = header << 8 | bytes[i];
            if (header < 2 || header > (ulong)(length - 8)) // a length below 8 leaves header at 0
            {
                Error = "not a refit_rt message. Check the address";
                return false;
            }
            data = 8 + (int)header;
            var json = new Json(bytes, 8, data);
            bool whole = json.Object(name =>
            {
                if (name == "__metadata__")
                    return json.Object(key =>
                    {
                        string text;
                        if (!json.String(out text)) return false;
                        about[key] = text;
                        return true;
                    });
                return IsRead(name) ? ReadEntry(json, name) : json.Skip(0);
            });
            if (whole && json.Ended()) return true;
            Error = "not a refit_rt message: its header cannot be read";
            return false;
        }

        // The names of the arrays that are read: another one, of a newer version, is skipped.
        private static bool IsRead(string name)
        {
            switch (name)
            {
                case "ids": case "poses": case "betas": case "trans": case "joints_camera": case "joints_px":
                case "joints_world": case "box": case "confidence": case "iterations": case "views": case "contacts":
                    return true;
                default:
                    return false;
            }
        }

        private bool ReadEntry(Json json, string name)
        {
            var entry = new Entry();
            entries[name] = entry;
            return json.Object(key =>
            {
                if (key == "dtype") return json.String(out entry.Dtype);
                if (key == "shape") return json.Numbers(out entry.Shape);
                if (key == "data_offsets") return json.Numbers(out entry.Offsets);
                return json.Skip(0);
            });
        }

        private void ReadPeople(People people)
        {
            Entry ids;
            bool sent = entries.TryGetValue("ids", out ids) && ids.Shape != null && ids.Shape.Count > 0;
            long count = sent ? ids.Shape[0] : 0;
            people.Ids = Load<long>("ids", "I64", 8, count);
            people.Poses = Load<float>("poses", "F32", 4, count, Smpl.JointCount, 3);
            people.Betas = Load<float>("betas", "F32", 4, count, Smpl.BetaCount);
            people.Trans = Load<float>("trans", "F32", 4, count, 3);
            people.JointsCamera = Load<float>("joints_camera", "F32", 4, count, Smpl.JointCount, 3);
            people.JointsPx = Load<float>("joints_px", "F32", 4, count, Smpl.JointCount, 2);
            people.JointsWorld = Load<float>("joints_world", "F32", 4, count, Smpl.JointCount, 3);
            people.Box = Load<float>("box", "F32", 4, count, 4);
            people.Confidence = Load<float>("confidence", "F32", 4, count);
            people.Iterations = Load<int>("iterations", "I32", 4, count);
            if (entries.ContainsKey("views")) people.Views = Load<int>("views", "I32", 4, count);
            if (entries.ContainsKey("contacts")) people.Contacts = Load<float>("contacts", "F32", 4, count, 4);
        }

        // Copies the array `name` of `count` rows of shape `row`; null after an error.
        private T[] Load<T>(string name, string dtype, int bytesPerNumber, long count, params int[] row)
        {
            if (Error != null) return null;
            Entry entry;
            if (!entries.TryGetValue(name, out entry))
            {
                Fail("incomplete message: no array '" + name + "'");
                return null;
            }
            bool fits = entry.Dtype == dtype && entry.Shape != null && entry.Shape.Count == row.Length + 1
                && entry.Shape[0] == count && entry.Offsets != null && entry.Offsets.Count == 2;
            int width = 1;
            for (int i = 0; i < row.Length; ++i)
            {
                fits = fits && entry.Shape[i + 1] == row[i];
                width *= row[i];
            }
            if (!fits)
            {
                Fail("the array '" + name + "' has another type or shape than this version reads");
                return null;
            }
            long start = entry.Offsets[0], end = entry.Offsets[1], size = length - data, rowBytes = width * bytesPerNumber;
            if (start > end || end > size || count > size / rowBytes || end - start != count * rowBytes)
            {
                Fail("the array '" + name + "' does not lie within the message");
                return null;
            }
            var array = new T[count * width];
            Buffer.BlockCopy(bytes, data + (int)start, array, 0, (int)(end - start));
            return array;
        }

        // `cameras`, `world_from_cameras` and `floor`, which may be absent.
        private void ReadPlaces(Message message)
        {
            if (Error != null) return;
            string names, floor;
            if (about.TryGetValue("cameras", out names) && names.Length > 0)
            {
                message.Cameras = names.Split(',');
                string[] places = Text("world_from_cameras").Split(',');
                message.WorldFromCameras = new double[places.Length][];
                for (int i = 0; i < places.Length; ++i)
                    if (!TryNumbers(places[i], 12, out message.WorldFromCameras[i]))
                        Fail("'world_from_cameras' has a place that is not 12 numbers");
                if (places.Length != message.Cameras.Length)
                    Fail("'world_from_cameras' has another number of places than 'cameras' of names");
            }
            if (about.TryGetValue("floor", out floor) && !TryNumbers(floor, 4, out message.Floor))
                Fail("'floor' is not 4 numbers");
        }

        private string Text(string key)
        {
            string text;
            if (about.TryGetValue(key, out text)) return text;
            Fail("incomplete message: no '" + key + "'");
            return "";
        }

        private double Number(string key)
        {
            double value;
            if (!TryNumber(Text(key), out value)) Fail("'" + key + "' is not a number");
            return value;
        }

        private long Whole(string key)
        {
            long value;
            if (!long.TryParse(Text(key), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value))
                Fail("'" + key + "' is not a number");
            return value;
        }

        // A decimal point, whatever the user's language.
        private static bool TryNumber(string text, out double value)
        {
            value = 0;
            return text.Length <= 64
                && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value)
                && !double.IsNaN(value) && !double.IsInfinity(value);
        }

        private static bool TryNumbers(string text, int count, out double[] values)
        {
            values = new double[count];
            if (text.Length > 64 * count) return false;
            string[] parts = text.Split(' ');
            if (parts.Length != count) return false;
            for (int i = 0; i < count; ++i)
                if (!TryNumber(parts[i], out values[i])) return false;
            return true;
        }
    }

    /// <summary>Reads JSON from front to back. Every function returns false where the text is not what it expects.</summary>
    internal sealed class Json
    {
        private const int Deepest = 32; // brackets inside brackets that are skipped; a message has two
        private const int MostDigits = 18;

        private readonly byte[] bytes;
        private readonly int end;
        private int at;

        internal Json(byte[] bytes, int begin, int end)
        {
            this.bytes = bytes;
            this.end = end;
            at = begin;
        }

        internal bool Ended()
        {
            Space();
            return at == end;
        }

        /// <summary>`entry` reads the value of each key.</summary>
        internal bool Object(Func<string, bool> entry)
        {
            if (!Take('{')) return false;
            if (Take('}')) return true;
            do
            {
                string key;
                if (!String(out key) || !Take(':') || !entry(key)) return false;
            } while (Take(','));
            return Take('}');
        }

        internal bool Array(Func<bool> item)
        {
            if (!Take('[')) return false;
            if (Take(']')) return true;
            do
            {
                if (!item()) return false;
            } while (Take(','));
            return Take(']');
        }

        /// <summary>Up to 8 whole numbers of up to 18 digits.</summary>
        internal bool Numbers(out List<long> values)
        {
            var read = new List<long>(4);
            values = read;
            return Array(() =>
            {
                Space();
                int first = at;
                long value = 0;
                for (; at < end && bytes[at] >= '0' && bytes[at] <= '9'; ++at)
                {
                    if (at - first >= MostDigits) return false;
                    value = value * 10 + (bytes[at] - '0');
                }
                read.Add(value);
                return at != first && read.Count <= 8;
            });
        }

        internal bool String(out string text)
        {
            text = null;
            if (!Take('"')) return false;
            StringBuilder parts = null; // where there is an escape
            while (true)
            {
                int first = at;
                while (at < end && bytes[at] != '"' && bytes[at] != '\\' && bytes[at] >= 0x20) ++at;
                if (at == end) return false;
                string part = Encoding.UTF8.GetString(bytes, first, at - first);
                byte c = bytes[at++];
                if (c == '"')
                {
                    text = parts == null ? part : parts.Append(part).ToString();
                    return true;
                }
                if (parts == null) parts = new StringBuilder();
                parts.Append(part);
                if (c != '\\' || !Escape(parts)) return false;
            }
        }

        /// <summary>Any value.</summary>
        internal bool Skip(int depth)
        {
            Space();
            if (depth > Deepest || at == end) return false;
            string text;
            if (bytes[at] == '"') return String(out text);
            if (bytes[at] == '{') return Object(key => Skip(depth + 1));
            if (bytes[at] == '[') return Array(() => Skip(depth + 1));
            int first = at;
            while (at < end && IsWord((char)bytes[at])) ++at;
            return at != first;
        }

        private static bool IsWord(char c)
        {
            return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '+' || c == '-' || c == '.';
        }

        private bool Take(char wanted)
        {
            Space();
            if (at == end || bytes[at] != wanted) return false;
            ++at;
            return true;
        }

        private void Space()
        {
            while (at < end && (bytes[at] == ' ' || bytes[at] == '\n' || bytes[at] == '\r' || bytes[at] == '\t')) ++at;
        }

        private bool Escape(StringBuilder text)
        {
            if (at == end) return false;
            char c = (char)bytes[at++];
            if (c == 'u') return Unicode(text);
            int found = "\"\\/bfnrt".IndexOf(c);
            if (found < 0) return false;
            text.Append("\"\\/\b\f\n\r\t"[found]);
            return true;
        }

        private bool Unicode(StringBuilder text)
        {
            if (end - at < 4) return false;
            int code = 0;
            for (int i = 0; i < 4; ++i)
            {
                int digit = "0123456789abcdef".IndexOf(char.ToLowerInvariant((char)bytes[at++]));
                if (digit < 0) return false;
                code = code * 16 + digit;
            }
            text.Append((char)code); // a pair of them is one character in UTF-16
            return true;
        }
    }

    /// <summary>A point or a direction.</summary>
    public struct Vec3
    {
        public double X, Y, Z;

        public Vec3(double x, double y, double z)
        {
            X = x;
            Y = y;
            Z = z;
        }

        public double Length { get { return Math.Sqrt(Dot(this, this)); } }
        public bool IsFinite { get { return !double.IsNaN(X + Y + Z) && !double.IsInfinity(X + Y + Z); } }

        public static Vec3 operator +(Vec3 a, Vec3 b) { return new Vec3(a.X + b.X, a.Y + b.Y, a.Z + b.Z); }
        public static Vec3 operator -(Vec3 a, Vec3 b) { return new Vec3(a.X - b.X, a.Y - b.Y, a.Z - b.Z); }
        public static Vec3 operator *(double s, Vec3 v) { return new Vec3(s * v.X, s * v.Y, s * v.Z); }
        public static double Dot(Vec3 a, Vec3 b) { return a.X * b.X + a.Y * b.Y + a.Z * b.Z; }

        public static Vec3 Cross(Vec3 a, Vec3 b)
        {
            return new Vec3(a.Y * b.Z - a.Z * b.Y, a.Z * b.X - a.X * b.Z, a.X * b.Y - a.Y * b.X);
        }

        /// <summary>Triple `row` of an array of them.</summary>
        public static Vec3 Of(float[] array, int row)
        {
            return new Vec3(array[3 * row], array[3 * row + 1], array[3 * row + 2]);
        }
    }

    /// <summary>A rotation as a quaternion of length 1.</summary>
    public struct Quat
    {
        public double X, Y, Z, W;

        public Quat(double x, double y, double z, double w)
        {
            X = x;
            Y = y;
            Z = z;
            W = w;
        }

        public static readonly Quat Identity = new Quat(0, 0, 0, 1);

        /// <summary>First b, then a.</summary>
        public static Quat operator *(Quat a, Quat b)
        {
            return new Quat(
                a.W * b.X + a.X * b.W + a.Y * b.Z - a.Z * b.Y,
                a.W * b.Y - a.X * b.Z + a.Y * b.W + a.Z * b.X,
                a.W * b.Z + a.X * b.Y - a.Y * b.X + a.Z * b.W,
                a.W * b.W - a.X * b.X - a.Y * b.Y - a.Z * b.Z);
        }

        public static Vec3 operator *(Quat q, Vec3 v)
        {
            var axis = new Vec3(q.X, q.Y, q.Z);
            Vec3 t = 2 * Vec3.Cross(axis, v);
            return v + q.W * t + Vec3.Cross(axis, t);
        }

        /// <summary>The same rotation with length 1 and w >= 0; the identity where there is none.</summary>
        public Quat Normalized
        {
            get
            {
                double length = Math.Sqrt(X * X + Y * Y + Z * Z + W * W);
                if (!(length > 1e-12) || double.IsInfinity(length)) return Identity;
                double s = (W < 0 ? -1 : 1) / length;
                return new Quat(s * X, s * Y, s * Z, s * W);
            }
        }

        /// <summary>Axis-angle, radians.</summary>
        public static Quat OfAxisAngle(Vec3 v)
        {
            double angle = v.Length;
            double s = angle < 1e-8 ? 0.5 : Math.Sin(angle / 2) / angle;
            return new Quat(s * v.X, s * v.Y, s * v.Z, Math.Cos(angle / 2));
        }

        /// <summary>The shortest turn from one unit direction to another that does not point the other way.</summary>
        public static Quat Between(Vec3 from, Vec3 to)
        {
            Vec3 axis = Vec3.Cross(from, to);
            return new Quat(axis.X, axis.Y, axis.Z, 1 + Vec3.Dot(from, to)).Normalized;
        }

        /// <summary>The rotation matrix whose columns are x, y and z.</summary>
        public static Quat OfColumns(Vec3 x, Vec3 y, Vec3 z)
        {
            // The largest of the four components is found first, so that nothing small is divided by.
            double trace = x.X + y.Y + z.Z;
            Quat q;
            if (trace >= x.X && trace >= y.Y && trace >= z.Z)
                q = new Quat(y.Z - z.Y, z.X - x.Z, x.Y - y.X, 1 + trace);
            else if (x.X >= y.Y && x.X >= z.Z)
                q = new Quat(1 - trace + 2 * x.X, x.Y + y.X, x.Z + z.X, y.Z - z.Y);
            else if (y.Y >= z.Z)
                q = new Quat(x.Y + y.X, 1 - trace + 2 * y.Y, y.Z + z.Y, z.X - x.Z);
            else
                q = new Quat(x.Z + z.X, y.Z + z.Y, 1 - trace + 2 * z.Z, x.Y - y.X);
            return q.Normalized;
        }
    }

    /// <summary>From the stream's world (y up, right-handed) to Unity's axes (y up, left-handed): x is mirrored.</summary>
    public static class UnityAxes
    {
        public static Vec3 Point(Vec3 world) { return new Vec3(-world.X, world.Y, world.Z); }

        /// <summary>A rotation of the world, or of a joint relative to its parent.</summary>
        public static Quat Turn(Quat world) { return new Quat(world.X, -world.Y, -world.Z, world.W).Normalized; }
    }

    /// <summary>
    /// One person in Unity's axes, metres. In the T-pose with no turns, the person faces +z and the left arm points to -x.
    /// </summary>
    public sealed class Body
    {
        public const double AnkleM = 0.07; // of a standing person, from the joint down to the floor

        public long Id;
        public double Confidence;
        public Vec3[] Joints;  // (24) in the world
        public Quat[] Locals;  // (24) relative to the parent joint; joint 0: in the world
        public Quat[] Turns;   // (24) in the world, relative to the T-pose that faces +z
        public double LegM;    // thigh and shin, the mean of both legs
        public bool FloorKnown; // true: the floor is at y = 0 and level; else the origin and the level are the world's

        /// <summary>Person `row` of a message; null where a number is not finite.</summary>
        public static Body Of(Message message, int row)
        {
            People people = message.People;
            int first = row * Smpl.JointCount;
            var body = new Body
            {
                Id = people.Ids[row],
                Confidence = people.Confidence[row],
                Joints = new Vec3[Smpl.JointCount],
                Locals = new Quat[Smpl.JointCount],
                Turns = new Quat[Smpl.JointCount],
            };
            Quat level = Quat.Identity;
            double floor = 0;
            if (message.Floor != null)
            {
                var normal = new Vec3(message.Floor[0], message.Floor[1], message.Floor[2]);
                body.FloorKnown = Math.Abs(normal.Length - 1) < 0.01 && normal.Y > 0.5; // else it is no floor
                if (body.FloorKnown)
                {
                    level = Quat.Between((1 / normal.Length) * normal, new Vec3(0, 1, 0));
                    floor = message.Floor[3];
                }
            }
            Quat root = level * WorldFromCamera(message, row);
            for (int joint = 0; joint < Smpl.JointCount; ++joint)
            {
                Vec3 turn = Vec3.Of(people.Poses, first + joint), place = Vec3.Of(people.JointsWorld, first + joint);
                if (!turn.IsFinite || !place.IsFinite) return null;
                Quat local = Quat.OfAxisAngle(turn);
                body.Locals[joint] = UnityAxes.Turn(joint == 0 ? root * local : local);
                int parent = Smpl.Parents[joint];
                body.Turns[joint] = parent < 0 ? body.Locals[0] : body.Turns[parent] * body.Locals[joint];
                body.Joints[joint] = UnityAxes.Point(level * place - new Vec3(0, floor, 0));
            }
            body.LegM = 0.5 * (body.Apart(1, 4) + body.Apart(4, 7) + body.Apart(2, 5) + body.Apart(5, 8));
            return body;
        }

        /// <summary>The way from a joint to the next one of its limb in the T-pose.</summary>
        public Vec3 Along(int joint, int next)
        {
            Quat turn = Turns[joint];
            return new Quat(-turn.X, -turn.Y, -turn.Z, turn.W) * (Joints[next] - Joints[joint]);
        }

        private double Apart(int a, int b) { return (Joints[a] - Joints[b]).Length; }

        /// <summary>How the camera is turned in the world.</summary>
        private static Quat WorldFromCamera(Message message, int row)
        {
            if (message.WorldFromCameras.Length > 0)
            {
                double[] m = message.WorldFromCameras[0];
                return Quat.OfColumns(new Vec3(m[0], m[4], m[8]), new Vec3(m[1], m[5], m[9]), new Vec3(m[2], m[6], m[10]));
            }
            // Both joint arrays are the same body, so that one person's torso says it.
            Quat camera = Torso(message.People.JointsCamera, row);
            Quat back = new Quat(-camera.X, -camera.Y, -camera.Z, camera.W);
            return Torso(message.People.JointsWorld, row) * back;
        }

        // The body's own frame from the hips and the neck.
        private static Quat Torso(float[] joints, int row)
        {
            int first = row * Smpl.JointCount;
            Vec3 x = Vec3.Of(joints, first + 1) - Vec3.Of(joints, first + 2);
            Vec3 y = Vec3.Of(joints, first + 12) - Vec3.Of(joints, first);
            x = (1 / x.Length) * x;
            y = y - Vec3.Dot(x, y) * x;
            y = (1 / y.Length) * y;
            return Quat.OfColumns(x, y, Vec3.Cross(x, y));
        }
    }

    /// <summary>
    /// Keeps the newest message of a receiver's thread and replaces one that has not been taken, so that a slow program
    /// loses messages and never falls behind.
    /// </summary>
    public abstract class Receiver : IDisposable
    {
        public const int MostBytes = 16 << 20; // of a message; 1,000 people have 1.2 MB

        private readonly object slot = new object();
        private byte[] newest;

        public long Received { get; private set; } // messages
        public long Replaced { get; private set; } // messages that were never taken
        public long Faults { get; private set; }   // messages that could not be read
        public string Error { get; private set; }  // of the last of these, or of the connection; null: none
        public bool Connected { get; protected set; }

        /// <summary>The newest message; null: nothing new, or a message that cannot be read. From one thread.</summary>
        public Message Take()
        {
            byte[] bytes;
            lock (slot)
            {
                bytes = newest;
                newest = null;
            }
            if (bytes == null) return null;
            Message message;
            string error;
            if (Message.TryDecode(bytes, bytes.Length, out message, out error)) return message;
            Faults += 1;
            Error = error;
            return null;
        }

        public abstract void Dispose();

        /// <summary>Called by the receiver's thread.</summary>
        protected void Put(byte[] bytes)
        {
            lock (slot)
            {
                Received += 1;
                if (newest != null) Replaced += 1;
                newest = bytes;
            }
        }

        protected void Say(string error) { Error = error; }
    }
}
