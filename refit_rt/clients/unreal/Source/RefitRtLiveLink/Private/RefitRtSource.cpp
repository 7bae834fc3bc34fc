#include "RefitRtSource.h"

#include "HAL/PlatformTime.h"
#include "ILiveLinkClient.h"
#include "LiveLinkTypes.h"
#include "Modules/ModuleManager.h"
#include "Roles/LiveLinkAnimationRole.h"
#include "Roles/LiveLinkAnimationTypes.h"
#include "WebSocketsModule.h"

DEFINE_LOG_CATEGORY_STATIC(LogRefitRt, Log, All);

namespace RefitRt
{
	constexpr double RetryS = 1;
	constexpr int32 MostBytes = 16 << 20; // of a message; 1,000 people have 1.2 MB
}

FRefitRtSource::FRefitRtSource(const FString& InAddress, bool bInWorld)
	: Address(InAddress)
	, Crowd(bInWorld)
{
}

FRefitRtSource::~FRefitRtSource()
{
	RequestSourceShutdown();
}

void FRefitRtSource::ReceiveClient(ILiveLinkClient* InClient, FGuid InSourceGuid)
{
	Client = InClient;
	SourceGuid = InSourceGuid;
	Connect();
}

void FRefitRtSource::Connect()
{
	RetryAtS = 0;
	Received.Reset();
	if (!Address.StartsWith(TEXT("ws://")) && !Address.StartsWith(TEXT("wss://")))
	{
		Error = TEXT("it is no address. Give one such as ws://127.0.0.1:8765");
		UE_LOG(LogRefitRt, Error, TEXT("%s: %s"), *Address, *Error);
		return;
	}
	FModuleManager::LoadModuleChecked<FWebSocketsModule>(TEXT("WebSockets"));
	Socket = FWebSocketsModule::Get().CreateWebSocket(Address, FString());
	Socket->OnConnected().AddSP(this, &FRefitRtSource::OnConnected);
	Socket->OnConnectionError().AddSP(this, &FRefitRtSource::OnLost);
	Socket->OnClosed().AddSP(this, &FRefitRtSource::OnClosed);
	Socket->OnRawMessage().AddSP(this, &FRefitRtSource::OnPart);
	Socket->Connect();
}

void FRefitRtSource::OnConnected()
{
	bConnected = true;
	Error.Reset();
}

void FRefitRtSource::OnLost(const FString& Reason)
{
	if (Reason != Error)
	{
		UE_LOG(LogRefitRt, Warning, TEXT("%s: %s. Start the outlet (refit-rt run --publish.outlets websocket), "
			"and give its token if it has one"), *Address, *Reason);
	}
	Error = Reason;
	bConnected = false;
	RetryAtS = FPlatformTime::Seconds() + RefitRt::RetryS; // in Update: a socket must not be replaced by its own event
}

void FRefitRtSource::OnClosed(int32, const FString& Reason, bool)
{
	OnLost(Reason.IsEmpty() ? FString(TEXT("the connection was closed")) : Reason);
}

void FRefitRtSource::OnPart(const void* Data, SIZE_T Size, SIZE_T BytesRemaining)
{
	// A part that does not fit is left out, and so is the message: it is counted as one that cannot be read.
	if (Size <= static_cast<SIZE_T>(RefitRt::MostBytes - Received.Num()))
	{
		Received.Append(static_cast<const uint8*>(Data), static_cast<int32>(Size));
	}
	if (BytesRemaining == 0)
	{
		OnWhole();
		Received.Reset();
	}
}

void FRefitRtSource::OnWhole()
{
	const std::string Fault = refit_rt::decode(Received.GetData(), static_cast<std::size_t>(Received.Num()), Newest);
	if (Fault.empty())
	{
		Push(Newest);
		return;
	}
	if (Faults++ == 0) // one line, and a count in the status
	{
		UE_LOG(LogRefitRt, Warning, TEXT("%s: %s"), *Address, UTF8_TO_TCHAR(Fault.c_str()));
	}
}

void FRefitRtSource::Push(const refit_rt::Message& Message)
{
	if (Client == nullptr)
	{
		return;
	}
	const double NowS = FPlatformTime::Seconds();
	for (const refit_rt::Crowd::Shown& Person : Crowd.update(Message, NowS))
	{
		const int32 Place = static_cast<int32>(Person.place);
		const FLiveLinkSubjectKey Key(SourceGuid, NameOf(Place));
		if (!Subjects.Contains(Place))
		{
			Subjects.Add(Place);
			FLiveLinkStaticDataStruct Static(FLiveLinkSkeletonStaticData::StaticStruct());
			TArray<FName> Names;
			TArray<int32> Parents;
			for (std::size_t Joint = 0; Joint < refit_rt::joint_count; ++Joint)
			{
				Names.Add(FName(refit_rt::mannequin[Joint]));
				Parents.Add(refit_rt::parents[Joint]);
			}
			Static.Cast<FLiveLinkSkeletonStaticData>()->SetBoneNames(Names);
			Static.Cast<FLiveLinkSkeletonStaticData>()->SetBoneParents(Parents);
			Client->PushSubjectStaticData_AnyThread(Key, ULiveLinkAnimationRole::StaticClass(), MoveTemp(Static));
		}
		FLiveLinkFrameDataStruct Frame(FLiveLinkAnimationFrameData::StaticStruct());
		FLiveLinkAnimationFrameData& Animation = *Frame.Cast<FLiveLinkAnimationFrameData>();
		Animation.WorldTime = NowS;
		Animation.MetaData.StringMetaData.Add(FName(TEXT("id")), FString::Printf(TEXT("%lld"), static_cast<int64>(Person.id)));
		for (const refit_rt::Bone& Bone : Person.bones)
		{
			Animation.Transforms.Add(RefitRt::ToTransform(Bone));
		}
		Client->PushSubjectFrameData_AnyThread(Key, MoveTemp(Frame));
	}
	RemoveWhoLeft();
}

void FRefitRtSource::RemoveWhoLeft()
{
	const std::vector<std::size_t> Held = Crowd.held(FPlatformTime::Seconds());
	for (const int32 Place : Subjects.Array())
	{
		if (Client != nullptr && std::find(Held.begin(), Held.end(), static_cast<std::size_t>(Place)) == Held.end())
		{
			Client->RemoveSubject_AnyThread(FLiveLinkSubjectKey(SourceGuid, NameOf(Place)));
			Subjects.Remove(Place);
		}
	}
}

FName FRefitRtSource::NameOf(int32 Place) const
{
	return FName(*FString::Printf(TEXT("Person%d"), Place + 1));
}

void FRefitRtSource::Update()
{
	RemoveWhoLeft();
	if (Client != nullptr && RetryAtS > 0 && FPlatformTime::Seconds() >= RetryAtS)
	{
		Connect();
	}
}

bool FRefitRtSource::IsSourceStillValid() const
{
	return Client != nullptr;
}

bool FRefitRtSource::RequestSourceShutdown()
{
	Client = nullptr;
	RetryAtS = 0;
	if (Socket.IsValid())
	{
		Socket->Close();
		Socket.Reset();
	}
	return true;
}

FText FRefitRtSource::GetSourceType() const
{
	return FText::FromString(TEXT("refit_rt"));
}

FText FRefitRtSource::GetSourceMachineName() const
{
	return FText::FromString(Address);
}

FText FRefitRtSource::GetSourceStatus() const
{
	if (!bConnected)
	{
		return FText::FromString(Error.IsEmpty() ? FString(TEXT("connecting")) : Error);
	}
	return FText::FromString(FString::Printf(TEXT("%d people, %lld unreadable messages"), Subjects.Num(), Faults));
}
