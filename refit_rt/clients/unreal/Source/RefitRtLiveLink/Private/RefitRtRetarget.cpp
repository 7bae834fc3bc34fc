#include "RefitRtRetarget.h"

#include "BoneContainer.h"
#include "BonePose.h"
#include "ReferenceSkeleton.h"
#include "RefitRtBodies.h"
#include "Roles/LiveLinkAnimationTypes.h"

DEFINE_LOG_CATEGORY_STATIC(LogRefitRtRetarget, Log, All);

void URefitRtRetarget::Measure(const FCompactPose& Pose)
{
	const FBoneContainer& Container = Pose.GetBoneContainer();
	if (Retarget.IsValid() && Character == Container.GetAsset() && BoneCount == Pose.GetNumBones())
	{
		return;
	}
	Character = Container.GetAsset();
	BoneCount = Pose.GetNumBones();
	refit_rt::Rig Rig;
	for (int32 Index = 0; Index < BoneCount; ++Index)
	{
		const FCompactPoseBoneIndex Bone(Index);
		const int32 MeshBone = Container.MakeMeshPoseIndex(Bone).GetInt();
		Rig.names.push_back(TCHAR_TO_UTF8(*Container.GetReferenceSkeleton().GetBoneName(MeshBone).ToString()));
		Rig.parents.push_back(Container.GetParentBoneIndex(Bone).GetInt());
		Rig.bones.push_back(RefitRt::ToBone(Container.GetRefPoseTransform(Bone)));
	}
	Retarget = MakeShared<refit_rt::Retarget>(Rig);
	FString Missing;
	for (const std::string& Name : Retarget->missing())
	{
		Missing += (Missing.IsEmpty() ? TEXT("") : TEXT(", ")) + FString(UTF8_TO_TCHAR(Name.c_str()));
	}
	const FString Who = Character != nullptr ? Character->GetName() : FString(TEXT("the character"));
	if (!Retarget->usable())
	{
		UE_LOG(LogRefitRtRetarget, Error, TEXT("%s has no bone %s. It needs pelvis, thigh_l, thigh_r, calf_l and foot_l"), *Who, *Missing);
	}
	else if (!Missing.IsEmpty())
	{
		UE_LOG(LogRefitRtRetarget, Warning, TEXT("%s has no bone %s. The bones around them are turned without them"), *Who, *Missing);
	}
}

void URefitRtRetarget::BuildPoseFromAnimationData(float, const FLiveLinkSkeletonStaticData*,
	const FLiveLinkAnimationFrameData* InFrameData, FCompactPose& OutPose)
{
	if (InFrameData->Transforms.Num() != static_cast<int32>(refit_rt::joint_count))
	{
		return; // a subject of another source
	}
	Measure(OutPose);
	if (!Retarget->usable())
	{
		return;
	}
	refit_rt::Bones Person;
	for (std::size_t Joint = 0; Joint < refit_rt::joint_count; ++Joint)
	{
		Person[Joint] = RefitRt::ToBone(InFrameData->Transforms[static_cast<int32>(Joint)]);
	}
	std::vector<refit_rt::Bone> Bones;
	Retarget->pose(Person, bKeepDistances, Bones);
	for (int32 Index = 0; Index < BoneCount; ++Index)
	{
		const FCompactPoseBoneIndex Bone(Index);
		FTransform Transform = RefitRt::ToTransform(Bones[static_cast<std::size_t>(Index)]);
		Transform.SetScale3D(OutPose[Bone].GetScale3D());
		OutPose[Bone] = Transform;
	}
}

void URefitRtRetarget::BuildPoseAndCurveFromBaseData(float, const FLiveLinkBaseStaticData*, const FLiveLinkBaseFrameData*,
	FCompactPose&, FBlendedCurve&)
{
	// The stream has no curves.
}
