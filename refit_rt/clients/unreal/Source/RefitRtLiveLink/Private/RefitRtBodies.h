// The part without Unreal, included as a third party's code.
#pragma once

#include "CoreMinimal.h"

THIRD_PARTY_INCLUDES_START
#include "refit_rt_bodies.hpp"
THIRD_PARTY_INCLUDES_END

namespace RefitRt
{
	inline FTransform ToTransform(const refit_rt::Bone& Bone)
	{
		return FTransform(FQuat(Bone.turn[0], Bone.turn[1], Bone.turn[2], Bone.turn[3]),
			FVector(Bone.place[0], Bone.place[1], Bone.place[2]));
	}

	inline refit_rt::Bone ToBone(const FTransform& Transform)
	{
		const FQuat Turn = Transform.GetRotation();
		const FVector Place = Transform.GetLocation();
		return refit_rt::Bone{{Place.X, Place.Y, Place.Z}, {Turn.X, Turn.Y, Turn.Z, Turn.W}};
	}
}
