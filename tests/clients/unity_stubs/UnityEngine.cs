// What the Unity client uses of UnityEngine, as far as the tests need it: places, turns and a hierarchy that work, and
// components whose methods the test calls itself. Written from Unity's documentation; it is no part of the client.
using System;
using System.Collections.Generic;

namespace UnityEngine
{
    public struct Vector3
    {
        public float x, y, z;

        public Vector3(float x, float y, float z) { this.x = x; this.y = y; this.z = z; }

        public static Vector3 zero { get { return new Vector3(); } }
        public static Vector3 one { get { return new Vector3(1, 1, 1); } }
        public float magnitude { get { return (float)Math.Sqrt(x * x + y * y + z * z); } }

        public static Vector3 operator +(Vector3 a, Vector3 b) { return new Vector3(a.x + b.x, a.y + b.y, a.z + b.z); }
        public static Vector3 operator -(Vector3 a, Vector3 b) { return new Vector3(a.x - b.x, a.y - b.y, a.z - b.z); }
        public static Vector3 Scale(Vector3 a, Vector3 b) { return new Vector3(a.x * b.x, a.y * b.y, a.z * b.z); }
    }

    public struct Quaternion
    {
        public float x, y, z, w;

        public Quaternion(float x, float y, float z, float w) { this.x = x; this.y = y; this.z = z; this.w = w; }

        public static Quaternion identity { get { return new Quaternion(0, 0, 0, 1); } }
        public static Quaternion Inverse(Quaternion q) { return new Quaternion(-q.x, -q.y, -q.z, q.w); }

        // By matrices and not by the client's formulas, so that they are checked.
        private float[,] Matrix()
        {
            return new[,]
            {
                { 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w) },
                { 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w) },
                { 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y) },
            };
        }

        public static Vector3 operator *(Quaternion q, Vector3 v)
        {
            float[,] m = q.Matrix();
            return new Vector3(
                m[0, 0] * v.x + m[0, 1] * v.y + m[0, 2] * v.z, m[1, 0] * v.x + m[1, 1] * v.y + m[1, 2] * v.z,
                m[2, 0] * v.x + m[2, 1] * v.y + m[2, 2] * v.z);
        }

        public static Quaternion operator *(Quaternion a, Quaternion b)
        {
            return new Quaternion(
                a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y, a.w * b.y + a.y * b.w + a.z * b.x - a.x * b.z,
                a.w * b.z + a.z * b.w + a.x * b.y - a.y * b.x, a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z);
        }
    }

    public static class Mathf
    {
        public static float Min(float a, float b) { return Math.Min(a, b); }
        public static float Max(float a, float b) { return Math.Max(a, b); }
    }

    public static class Time
    {
        public static float unscaledTime, deltaTime;
    }

    public static class Debug
    {
        public static readonly List<string> Lines = new List<string>();
        public static void LogWarning(object text, Object context) { Lines.Add("warning: " + text); }
        public static void LogError(object text, Object context) { Lines.Add("error: " + text); }
    }

    public class Object
    {
        public string name = "";
    }

    public class Component : Object
    {
        public Transform transform;
        public Animator animator;
        public T GetComponent<T>() where T : class { return animator as T; }
    }

    public class MonoBehaviour : Component
    {
        public bool enabled = true;
    }

    public class Transform : Object
    {
        public Transform parent;
        public Vector3 localPosition, localScale = Vector3.one;
        public Quaternion localRotation = Quaternion.identity;

        public Quaternion rotation
        {
            get { return parent == null ? localRotation : parent.rotation * localRotation; }
            set { localRotation = parent == null ? value : Quaternion.Inverse(parent.rotation) * value; }
        }

        public Vector3 position
        {
            get { return parent == null ? localPosition : parent.TransformPoint(localPosition); }
            set { localPosition = parent == null ? value : parent.InverseTransformPoint(value); }
        }

        public Vector3 TransformPoint(Vector3 point)
        {
            Vector3 moved = localPosition + localRotation * Vector3.Scale(localScale, point);
            return parent == null ? moved : parent.TransformPoint(moved);
        }

        public Vector3 InverseTransformPoint(Vector3 point)
        {
            Vector3 v = Quaternion.Inverse(localRotation)
                * ((parent == null ? point : parent.InverseTransformPoint(point)) - localPosition);
            return new Vector3(v.x / localScale.x, v.y / localScale.y, v.z / localScale.z);
        }
    }

    public enum HumanBodyBones
    {
        Hips, LeftUpperLeg, RightUpperLeg, LeftLowerLeg, RightLowerLeg, LeftFoot, RightFoot, Spine, Chest, Neck, Head,
        LeftShoulder, RightShoulder, LeftUpperArm, RightUpperArm, LeftLowerArm, RightLowerArm, LeftHand, RightHand,
        LeftToes, RightToes, LeftEye, RightEye, Jaw, UpperChest = 54,
    }

    public struct SkeletonBone
    {
        public string name;
        public Vector3 position, scale;
        public Quaternion rotation;
    }

    public struct HumanDescription
    {
        public SkeletonBone[] skeleton;
    }

    public class Avatar : Object
    {
        public bool isHuman = true;
        public HumanDescription humanDescription;
    }

    public class Animator : Component
    {
        public Avatar avatar;
        public readonly Dictionary<HumanBodyBones, Transform> Bones = new Dictionary<HumanBodyBones, Transform>();

        public Transform GetBoneTransform(HumanBodyBones bone)
        {
            Transform found;
            return Bones.TryGetValue(bone, out found) ? found : null;
        }
    }

    public class TooltipAttribute : Attribute
    {
        public TooltipAttribute(string text) { }
    }

    public class RequireComponent : Attribute
    {
        public RequireComponent(Type type) { }
    }

    public class DefaultExecutionOrder : Attribute
    {
        public DefaultExecutionOrder(int order) { }
    }
}
