// What the tests run with Mono: dump FILE… | fuzz COUNT SEED FILE… | newest FILE… | live URL | address TEXT |
// avatar RIG FILE…
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Text;
using System.Threading;
using RefitRt;
using UnityEngine;

public static class Client
{
    public static int Main(string[] words)
    {
        Thread.CurrentThread.CurrentCulture = new CultureInfo("de-DE"); // a decimal comma must not matter
        string[] rest = words.Skip(1).ToArray();
        switch (words[0])
        {
            case "dump": return Dump(rest);
            case "fuzz": return Fuzz(int.Parse(rest[0]), ulong.Parse(rest[1]), rest.Skip(2));
            case "newest": return Newest(rest);
            case "live": return Live(rest[0]);
            case "address": return Address(rest[0]);
            case "avatar": return Drive(rest[0], rest.Skip(1));
            default: return 64;
        }
    }

    // --- JSON

    private static string Text(string text)
    {
        if (text == null) return "null";
        return "\"" + string.Concat(text.Select(c => c < ' ' || c == '"' || c == '\\' || c > '~'
            ? "\\u" + ((int)c).ToString("x4") : c.ToString())) + "\"";
    }

    private static string List<T>(IEnumerable<T> values)
    {
        return values == null ? "null" : "[" + string.Join(",", values.Select(
            v => v is string ? Text((string)(object)v)
                : ((IFormattable)v).ToString(v is float || v is double ? "R" : "D", CultureInfo.InvariantCulture))) + "]";
    }

    private static string Fields(params object[] pairs)
    {
        var made = new StringBuilder("{");
        for (int i = 0; i < pairs.Length; i += 2) made.Append(i > 0 ? "," : "").Append(Text((string)pairs[i])).Append(":").Append(pairs[i + 1]);
        return made.Append("}").ToString();
    }

    private static IEnumerable<double> Flat(IEnumerable<Vec3> all) { return all.SelectMany(v => new[] { v.X, v.Y, v.Z }); }
    private static IEnumerable<double> Flat(IEnumerable<Quat> all) { return all.SelectMany(q => new[] { q.X, q.Y, q.Z, q.W }); }

    // --- the decoder

    private static int Dump(string[] paths)
    {
        var made = new List<string>();
        foreach (string path in paths)
        {
            Message m;
            string error;
            byte[] bytes = File.ReadAllBytes(path);
            if (!Message.TryDecode(bytes, bytes.Length, out m, out error))
            {
                Console.Error.WriteLine(error);
                return 1;
            }
            People p = m.People;
            Body[] bodies = Enumerable.Range(0, p.Count).Select(row => Body.Of(m, row)).ToArray();
            made.Add(Fields(
                "ids", List(p.Ids), "poses", List(p.Poses), "betas", List(p.Betas), "trans", List(p.Trans),
                "joints_camera", List(p.JointsCamera), "joints_px", List(p.JointsPx), "joints_world", List(p.JointsWorld),
                "box", List(p.Box), "confidence", List(p.Confidence), "iterations", List(p.Iterations),
                "views", List(p.Views), "contacts", List(p.Contacts),
                "texts", List(new[] { m.Status, m.Camera, m.Body, m.Bundle }),
                "numbers", List(new[] { m.Frame, m.Dropped, m.CapturedUnixS, m.CapturedS, m.TimeS, m.AgeS, m.WidthPx,
                    m.HeightPx, m.FocalPx, m.CentreXPx, m.CentreYPx }),
                "cameras", List(m.Cameras), "world_from_cameras", List(m.WorldFromCameras.SelectMany(one => one)),
                "floor", List(m.Floor), "about", Fields(m.About.SelectMany(a => new object[] { a.Key, Text(a.Value) }).ToArray()),
                "unity_points", List(bodies.SelectMany(b => Flat(b.Joints))),
                "unity_quaternions", List(bodies.SelectMany(b => Flat(b.Locals)))));
        }
        Console.WriteLine(Fields("messages", "[" + string.Join(",", made) + "]", "names", List(Smpl.JointNames),
            "parents", List(Smpl.Parents), "bones", List(RefitRtAvatar.Bones.Select(bone => bone.ToString()))));
        return 0;
    }

    private static ulong state;

    private static int Below(int most) // xorshift64*, Vigna 2016
    {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return most > 0 ? (int)((state * 2685821657736338717ul >> 32) % (ulong)most) : 0;
    }

    private static readonly string[] hostile =
    {
        "0", "1", "-1", "18446744073709551615", "999999999999999999", "4294967296", "2305843009213693952", "1e400", "nan",
        "[", "]", "{", "}", "\"", "\\u", "\\ud800", "\\ud83d\\ude00", "\\", ",", ":", "[]", "{}", "null", "\"I64\"", "\"F64\"",
        new string('[', 3000), "\xff", " ",
    };

    private static readonly char[] marks = "0123456789:[{\"".ToCharArray();
    private static readonly Encoding latin = Encoding.GetEncoding("iso-8859-1");

    private static int HeaderEnd(byte[] bytes)
    {
        ulong length = bytes.Length < 8 ? 0 : BitConverter.ToUInt64(bytes, 0);
        return (int)Math.Min(length, (ulong)bytes.Length);
    }

    private static byte[] Mutated(byte[] bytes)
    {
        switch (Below(6))
        {
            case 0: // some bytes, most of them of the header
                for (int n = 1 + Below(8); n-- > 0 && bytes.Length > 0;)
                    bytes[Below(Below(2) > 0 ? bytes.Length : HeaderEnd(bytes))] = (byte)Below(256);
                return bytes;
            case 1:
                return Joined(bytes, 0, Below(bytes.Length));
            case 2: // the length of the header
                ulong[] lengths = { 0, 1, 2, (ulong)bytes.Length - 8, (ulong)bytes.Length, ulong.MaxValue, 1ul << 62 };
                if (bytes.Length >= 8) BitConverter.GetBytes(lengths[Below(lengths.Length)]).CopyTo(bytes, 0);
                return bytes;
            case 3:
                return Joined(bytes, 0, bytes.Length, new byte[Below(64)]);
            default:
                for (int n = 1 + Below(3); n-- > 0;) bytes = WithHeader(bytes);
                return bytes;
        }
    }

    // Puts something hostile in place of a number, a text or a bracket of the header, and mends the header's length.
    private static byte[] WithHeader(byte[] bytes)
    {
        int length = HeaderEnd(bytes);
        if (length < 2 || 8 + length > bytes.Length) return bytes;
        string header = latin.GetString(bytes, 8, length);
        int start = Below(length);
        int found = Below(4) > 0 ? header.IndexOfAny(marks, start) : start;
        if (found >= 0) start = found;
        int end = start + 1;
        while (end < length && char.IsDigit(header[end])) ++end;
        int from = Below(length);
        string piece = Below(8) > 0 ? hostile[Below(hostile.Length)] : header.Substring(from, Below(Math.Min(200, length - from)));
        byte[] made = latin.GetBytes(header.Substring(0, start) + piece + header.Substring(Below(3) > 0 ? end : start));
        byte[] size = BitConverter.GetBytes((ulong)made.Length);
        return Joined(size, 0, 8, made, Joined(bytes, 8 + length, bytes.Length - 8 - length));
    }

    // A part of `first`, then the others whole.
    private static byte[] Joined(byte[] first, int start, int count, params byte[][] others)
    {
        var made = new byte[count + others.Sum(one => one.Length)];
        Buffer.BlockCopy(first, start, made, 0, count);
        foreach (byte[] one in others)
        {
            Buffer.BlockCopy(one, 0, made, count, one.Length);
            count += one.Length;
        }
        return made;
    }

    private static int Fuzz(int count, ulong seed, IEnumerable<string> paths)
    {
        state = seed; // not 0
        byte[][] messages = paths.Select(File.ReadAllBytes).ToArray();
        int accepted = 0;
        for (int i = 0; i < count; ++i)
        {
            var bytes = (byte[])messages[Below(messages.Length)].Clone();
            for (int n = 1 + Below(2); n-- > 0;) bytes = Mutated(bytes);
            Message message;
            string error;
            bool fine = Message.TryDecode(bytes, bytes.Length, out message, out error);
            if (fine == (error != null) || fine == (message == null)) throw new Exception("neither read nor refused");
            if (!fine) continue;
            ++accepted;
            for (int row = 0; row < message.People.Count; ++row) Body.Of(message, row);
        }
        Console.WriteLine(Fields("accepted", accepted, "refused", count - accepted));
        return 0;
    }

    // --- receivers

    private sealed class Hand : Receiver
    {
        public void Give(byte[] bytes) { Put(bytes); }
        public override void Dispose() { }
    }

    private static int Newest(string[] paths)
    {
        var hand = new Hand();
        bool before = hand.Take() == null;
        foreach (string path in paths) hand.Give(File.ReadAllBytes(path));
        int taken = hand.Take().People.Count;
        bool again = hand.Take() == null;
        hand.Give(new byte[3]);
        bool bad = hand.Take() == null;
        Console.WriteLine(Fields("nothing", List(new[] { before, again, bad }.Select(one => one ? 1 : 0)), "taken", taken,
            "counts", List(new[] { hand.Received, hand.Replaced, hand.Faults }), "error", Text(hand.Error)));
        return 0;
    }

    private static int Live(string url)
    {
        Message last = null;
        string refused = null;
        DateTime end = DateTime.UtcNow.AddSeconds(40);
        var receiver = new WebSocketReceiver(url, 0.05);
        while (DateTime.UtcNow < end && (last == null || last.Status != "ended"))
        {
            last = receiver.Take() ?? last;
            refused = refused ?? receiver.Error;
            Thread.Sleep(5);
        }
        receiver.Dispose();
        bool open = receiver.Connected;
        Console.WriteLine(Fields("status", Text(last == null ? null : last.Status), "frame", last == null ? -1 : last.Frame,
            "refused", Text(refused), "faults", receiver.Faults, "open", open ? 1 : 0));
        return 0;
    }

    // --- an avatar

    private static void Call(object component, string method)
    {
        component.GetType().GetMethod(method, BindingFlags.NonPublic | BindingFlags.Instance).Invoke(component, null);
    }

    private static int Address(string address)
    {
        var stream = new RefitRtStream { address = address };
        Call(stream, "OnEnable");
        Call(stream, "Update");
        Call(stream, "Update");
        bool receives = stream.Receiver != null;
        Call(stream, "OnDisable");
        Console.WriteLine(Fields("lines", List(Debug.Lines), "receives", receives ? 1 : 0));
        return 0;
    }

    private static float[] Numbers(IEnumerable<string> words)
    {
        return words.Select(word => float.Parse(word, CultureInfo.InvariantCulture)).ToArray();
    }

    // RIG: one line per object, its parent first: name, parent, bone or -, then in the T-pose relative to the parent: place
    // x y z, turn x y z w, scale. The object "root" has no parent and holds the avatar; its T-pose is its place in the
    // scene. Every other object stands otherwise in the scene. An empty line ends the rig, then come options.
    private static int Drive(string rig, IEnumerable<string> paths)
    {
        var all = new Dictionary<string, Transform>();
        var rest = new List<SkeletonBone>();
        var animator = new Animator { avatar = new Avatar() };
        string[] lines = File.ReadAllLines(rig);
        foreach (string[] words in lines.TakeWhile(line => line != "").Select(line => line.Split(' ')))
        {
            float[] n = Numbers(words.Skip(3));
            var place = new Vector3(n[0], n[1], n[2]);
            var turn = new Quaternion(n[3], n[4], n[5], n[6]);
            var made = new Transform { name = words[0], localPosition = place, localScale = new Vector3(n[7], n[7], n[7]) };
            if (words[0] == "root") made.localRotation = turn;
            else
            {
                made.parent = all[words[1]];
                made.localRotation = new Quaternion(0.6f, 0, 0.8f, 0) * turn;
                rest.Add(new SkeletonBone { name = words[0], position = place, rotation = turn, scale = made.localScale });
            }
            all[words[0]] = made;
            if (words[2] != "-") animator.Bones[(HumanBodyBones)Enum.Parse(typeof(HumanBodyBones), words[2])] = made;
        }
        string[] options = lines.SkipWhile(line => line != "").ToArray();
        animator.transform = all["root"];
        animator.avatar.isHuman = !options.Contains("generic");
        animator.avatar.humanDescription = new HumanDescription { skeleton = rest.ToArray() };
        var world = new Transform { localPosition = new Vector3(5, 6, 7) };
        var stream = new RefitRtStream { transform = world };
        var avatar = new RefitRtAvatar { name = "Anna", transform = all["root"], animator = animator, stream = stream };
        if (options.Contains("second")) avatar.person = 1;
        if (options.Contains("world")) avatar.origin = RefitRtAvatar.Origin.World;
        Call(avatar, "OnEnable");
        var shown = new List<string>();
        foreach (string path in paths)
        {
            Message message;
            string error;
            byte[] bytes = File.ReadAllBytes(path);
            if (!Message.TryDecode(bytes, bytes.Length, out message, out error)) throw new Exception(error);
            stream.Show(message);
            if (avatar.enabled) Call(avatar, "LateUpdate");
            shown.Add(Fields(animator.Bones.SelectMany(bone => new object[] { bone.Key.ToString(), List(new[]
            {
                bone.Value.position.x, bone.Value.position.y, bone.Value.position.z,
            }) }).ToArray()));
            Time.unscaledTime += 1;
        }
        Console.WriteLine(Fields("shown", "[" + string.Join(",", shown) + "]", "lines", List(Debug.Lines)));
        return 0;
    }
}
