#include "RefitRtSourceFactory.h"

#include "Misc/ConfigCacheIni.h"
#include "RefitRtSource.h"

FText URefitRtSourceFactory::GetSourceDisplayName() const
{
	return FText::FromString(TEXT("refit_rt"));
}

FText URefitRtSourceFactory::GetSourceTooltip() const
{
	return FText::FromString(TEXT("People of a refit_rt stream, from its WebSocket outlet"));
}

TSharedPtr<ILiveLinkSource> URefitRtSourceFactory::CreateSource(const FString& ConnectionString) const
{
	FString Address = ConnectionString;
	bool bInWorld = false;
	if (Address.IsEmpty() && !GConfig->GetString(TEXT("RefitRt"), TEXT("Address"), Address, GGameIni))
	{
		Address = TEXT("ws://127.0.0.1:8765");
	}
	GConfig->GetBool(TEXT("RefitRt"), TEXT("InWorld"), bInWorld, GGameIni);
	return MakeShared<FRefitRtSource>(Address, bInWorld);
}
