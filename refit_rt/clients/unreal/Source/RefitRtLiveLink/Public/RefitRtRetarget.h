// What turns the bones of a mannequin by a person: choose it as Retarget Asset of a Live Link Pose node.
#pragma once

#include "CoreMinimal.h"
#include "LiveLinkRetargetAsset.h"
#include "Templates/SharedPointer.h"

#include "RefitRtRetarget.generated.h"

namespace refit_rt { class Retarget; }

UCLASS(Blueprintable)
class REFITRTLIVELINK_API URefitRtRetarget : public ULiveLinkRetargetAsset
{
	GENERATED_BODY()

public:
	// Off: a small character makes small steps, and its feet do not slide. On: people keep their distances.
	UPROPERTY(EditAnywhere, Category = "refit_rt")
	bool bKeepDistances = false;

	virtual void BuildPoseFromAnimationData(float DeltaTime, const FLiveLinkSkeletonStaticData* InSkeletonData,
		const FLiveLinkAnimationFrameData* InFrameData, FCompactPose& OutPose) override;
	virtual void BuildPoseAndCurveFromBaseData(float DeltaTime, const FLiveLinkBaseStaticData* InBaseStaticData,
		const FLiveLinkBaseFrameData* InBaseFrameData, FCompactPose& OutPose, FBlendedCurve& OutCurve) override;

private:
	void Measure(const FCompactPose& Pose);

	TSharedPtr<refit_rt::Retarget> Retarget; // of the character that was posed last
	const UObject* Character = nullptr;      // only compared
	int32 BoneCount = 0;                     // fewer at a lower level of detail
};
