// The entry "refit_rt" of Live Link's menu of sources.
#pragma once

#include "CoreMinimal.h"
#include "LiveLinkSourceFactory.h"

#include "RefitRtSourceFactory.generated.h"

UCLASS()
class REFITRTLIVELINK_API URefitRtSourceFactory : public ULiveLinkSourceFactory
{
	GENERATED_BODY()

public:
	virtual FText GetSourceDisplayName() const override;
	virtual FText GetSourceTooltip() const override;
	virtual EMenuType GetMenuType() const override { return EMenuType::MenuEntry; }

	// The address is that of ConnectionString (of a preset), or the setting Address in the section [RefitRt] of
	// Config/DefaultGame.ini, or ws://127.0.0.1:8765.
	virtual TSharedPtr<ILiveLinkSource> CreateSource(const FString& ConnectionString) const override;
};
