// A component that turns the bones of a humanoid avatar as a person of a refit_rt stream. It stands beside the Animator.
//
// A bone's turn in the world is the joint's turn (relative to SMPL's T-pose) times the bone's own turn in the avatar's
// T-pose. So it does not matter how the axes of a rig's bones lie, nor which bones lie between them. Each thigh
// of SMPL's T-pose stands out by 7 degrees, and most avatars' do not: legs and arms are laid along SMPL's T-pose first.
using System;
using System.Collections.Generic;
using UnityEngine;

namespace RefitRt
{
    [RequireComponent(typeof(Animator))]
    public sealed class RefitRtAvatar : MonoBehaviour
    {
        public enum Origin
        {
            Person, // the person stands where the avatar stands when the person is first seen
            World,  // the person is in the world of the stream, whose origin and axes are those of RefitRtStream's object
        }

        /// <summary>The bone of each of SMPL's joints but the last two, the hands' knuckles, which have none.</summary>
        public static readonly HumanBodyBones[] Bones =
        {
            HumanBodyBones.Hips, HumanBodyBones.LeftUpperLeg, HumanBodyBones.RightUpperLeg, HumanBodyBones.Spine,
            HumanBodyBones.LeftLowerLeg, HumanBodyBones.RightLowerLeg, HumanBodyBones.Chest, HumanBodyBones.LeftFoot,
            HumanBodyBones.RightFoot, HumanBodyBones.UpperChest, HumanBodyBones.LeftToes, HumanBodyBones.RightToes,
            HumanBodyBones.Neck, HumanBodyBones.LeftShoulder, HumanBodyBones.RightShoulder, HumanBodyBones.Head,
            HumanBodyBones.LeftUpperArm, HumanBodyBones.RightUpperArm, HumanBodyBones.LeftLowerArm,
            HumanBodyBones.RightLowerArm, HumanBodyBones.LeftHand, HumanBodyBones.RightHand,
        };

        private const int Pelvis = 0, LHip = 1, LKnee = 4, LAnkle = 7, RAnkle = 8;
        private static readonly int[] Spine = { 3, 6, 9 };
        private static readonly Dictionary<int, int> LaidTowards = new Dictionary<int, int> // joint, and the limb's next one
        {
            { 1, 4 }, { 2, 5 }, { 4, 7 }, { 5, 8 }, { 16, 18 }, { 17, 19 }, { 18, 20 }, { 19, 21 },
        };
        private const float RiseMPerS = 0.02f; // at which the floor is given up where no foot has touched it

        [Tooltip("Empty: the stream of the scene")]
        public RefitRtStream stream;
        [Tooltip("0: the first person, 1: the second one, and so on")]
        public int person;
        public Origin origin = Origin.Person;
        [Tooltip("Off: the hips turn and stay in their place")]
        public bool move = true;

        private struct Limb
        {
            internal Transform Bone;
            internal Quaternion Rest; // in the T-pose, relative to the avatar
            internal int Joint;       // whose turn the bone takes
            internal Vec3 Along;      // of a limb, the way to its next bone in the T-pose, relative to the avatar; else 0
        }

        private readonly List<Limb> limbs = new List<Limb>(); // parents first
        private Transform hips;
        private float legM, ankleM; // of the avatar in its T-pose
        private bool started;
        private long id;
        private Vector3 start; // of the person: x and z of the pelvis, y of the lower ankle
        private Body shown;

        private void OnEnable()
        {
            limbs.Clear();
            started = false;
            string fault = FindBones();
            if (fault == null) return;
            Debug.LogError("refit_rt: avatar '" + name + "': " + fault, this);
            enabled = false;
        }

        private void LateUpdate() // after an Animator's own motion
        {
            RefitRtStream source = stream != null ? stream : RefitRtStream.Current;
            Body body = source != null ? source.Person(person) : null;
            if (body != null && body != shown) Place(body, source.transform);
            shown = body ?? shown;
            if (shown != null && hips != null) Pose(shown);
        }

        // The bones with their places in the T-pose. Returns what is wrong, or null.
        private string FindBones()
        {
            var animator = GetComponent<Animator>();
            if (animator == null || animator.avatar == null || !animator.avatar.isHuman)
                return "it is not humanoid. Set Rig > Animation Type to Humanoid in the model's import settings";
            var pose = new TPose(animator);
            var missing = new List<string>();
            for (int joint = 0; joint < Bones.Length; ++joint)
            {
                Transform bone = animator.GetBoneTransform(Bones[joint]);
                if (bone == null)
                {
                    missing.Add(Bones[joint].ToString());
                    continue;
                }
                var limb = new Limb { Bone = bone, Rest = pose.Of(bone).Turn, Joint = joint };
                int towards;
                Transform next = LaidTowards.TryGetValue(joint, out towards) ? animator.GetBoneTransform(Bones[towards]) : null;
                if (next != null)
                {
                    Vector3 along = pose.Of(next).Place - pose.Of(bone).Place;
                    limb.Along = new Vec3(along.x, along.y, along.z);
                }
                limbs.Add(limb);
            }
            TakeTurnsOfTheMissingSpine();
            foreach (int joint in new[] { Pelvis, LHip, LKnee, LAnkle, RAnkle })
                if (animator.GetBoneTransform(Bones[joint]) == null)
                    return "it has no bone " + Bones[joint] + ". Give it one in the avatar's configuration";
            if (missing.Count > 0)
                Debug.LogWarning("refit_rt: avatar '" + name + "' has no bone " + string.Join(", ", missing.ToArray())
                    + ". The bones around them are turned without them; the avatar's configuration can add them", this);
            hips = animator.GetBoneTransform(HumanBodyBones.Hips);
            Vector3 hip = pose.Of(animator.GetBoneTransform(HumanBodyBones.LeftUpperLeg)).Place;
            Vector3 knee = pose.Of(animator.GetBoneTransform(HumanBodyBones.LeftLowerLeg)).Place;
            Vector3 ankle = pose.Of(animator.GetBoneTransform(HumanBodyBones.LeftFoot)).Place;
            legM = (hip - knee).magnitude + (knee - ankle).magnitude;
            ankleM = ankle.y;
            return null;
        }

        // SMPL has three joints in the spine. A rig with fewer bones: the highest one takes the turn of the highest joint,
        // so that the shoulders turn with the person's.
        private void TakeTurnsOfTheMissingSpine()
        {
            for (int i = limbs.Count - 1; i >= 0; --i)
            {
                if (Array.IndexOf(Spine, limbs[i].Joint) < 0) continue;
                Limb highest = limbs[i];
                highest.Joint = Spine[Spine.Length - 1];
                limbs[i] = highest;
                return;
            }
        }

        // Where the person starts, and the floor.
        private void Place(Body body, Transform world)
        {
            float lowest = (float)Math.Min(body.Joints[LAnkle].Y, body.Joints[RAnkle].Y);
            Vector3 pelvis = Vector(body.Joints[Pelvis]);
            bool known = body.FloorKnown;
            if (!started || id != body.Id) start = new Vector3(pelvis.x, lowest, pelvis.z);
            else start.y = Mathf.Min(start.y + RiseMPerS * Time.deltaTime, lowest);
            if (known) start.y = (float)Body.AnkleM;
            started = true;
            id = body.Id;
            if (origin != Origin.World) return;
            transform.position = world.position;
            transform.rotation = world.rotation;
        }

        private void Pose(Body body)
        {
            if (move)
            {
                // Legs of the avatar's length make steps of the avatar's length: so its feet do not slide.
                float scale = legM / Mathf.Max((float)body.LegM, 0.01f);
                Vector3 pelvis = Vector(body.Joints[Pelvis]);
                Vector3 away = pelvis - start;
                float across = scale;
                if (origin == Origin.World)
                {
                    away = new Vector3(pelvis.x, away.y, pelvis.z);
                    across = 1; // people keep their distances
                }
                hips.position = transform.TransformPoint(
                    new Vector3(across * away.x, ankleM + scale * away.y, across * away.z));
            }
            foreach (Limb limb in limbs)
                limb.Bone.rotation = transform.rotation * Turn(body.Turns[limb.Joint] * Laid(body, limb)) * limb.Rest;
        }

        // From the avatar's T-pose to SMPL's.
        private static Quat Laid(Body body, Limb limb)
        {
            if (!(limb.Along.Length > 0)) return Quat.Identity;
            Vec3 theirs = body.Along(limb.Joint, LaidTowards[limb.Joint]);
            Vec3 from = (1 / limb.Along.Length) * limb.Along, to = (1 / theirs.Length) * theirs;
            return to.IsFinite && Vec3.Dot(from, to) > 0 ? Quat.Between(from, to) : Quat.Identity;
        }

        private static Vector3 Vector(Vec3 v) { return new Vector3((float)v.X, (float)v.Y, (float)v.Z); }

        private static Quaternion Turn(Quat q) { return new Quaternion((float)q.X, (float)q.Y, (float)q.Z, (float)q.W); }

        /// <summary>Bones in the T-pose of the avatar's configuration, whatever the pose in the scene.</summary>
        private sealed class TPose
        {
            internal struct Spot
            {
                internal Vector3 Place; // relative to the avatar
                internal Quaternion Turn;
            }

            private readonly Transform root;
            private readonly Dictionary<string, SkeletonBone> rest = new Dictionary<string, SkeletonBone>();

            internal TPose(Animator animator)
            {
                root = animator.transform;
                foreach (SkeletonBone bone in animator.avatar.humanDescription.skeleton)
                    if (!rest.ContainsKey(bone.name)) rest[bone.name] = bone;
            }

            internal Spot Of(Transform bone)
            {
                var spot = new Spot { Place = Vector3.zero, Turn = Quaternion.identity };
                for (; bone != null && bone != root; bone = bone.parent)
                {
                    SkeletonBone at;
                    if (!rest.TryGetValue(bone.name, out at)) // an object that the configuration does not have
                        at = new SkeletonBone
                        {
                            position = bone.localPosition, rotation = bone.localRotation, scale = bone.localScale,
                        };
                    spot.Place = at.position + at.rotation * Vector3.Scale(at.scale, spot.Place);
                    spot.Turn = at.rotation * spot.Turn;
                }
                return spot;
            }
        }
    }
}
