// Receives a refit_rt stream from its WebSocket outlet: one Live Link subject per person.
#pragma once

#include "ILiveLinkSource.h"
#include "IWebSocket.h"
#include "RefitRtBodies.h"

class ILiveLinkClient;

class FRefitRtSource : public ILiveLinkSource, public TSharedFromThis<FRefitRtSource>
{
public:
	// bInWorld: people stand where they are in the stream's world; else each one starts at the origin.
	FRefitRtSource(const FString& InAddress, bool bInWorld);
	virtual ~FRefitRtSource() override;

	virtual void ReceiveClient(ILiveLinkClient* InClient, FGuid InSourceGuid) override;
	virtual void Update() override;
	virtual bool IsSourceStillValid() const override;
	virtual bool RequestSourceShutdown() override;
	virtual FText GetSourceType() const override;
	virtual FText GetSourceMachineName() const override;
	virtual FText GetSourceStatus() const override;

private:
	// All of these run on the game thread, where WebSockets broadcasts.
	void Connect();
	void OnConnected();
	void OnLost(const FString& Reason);
	void OnClosed(int32 Code, const FString& Reason, bool bClean);
	void OnPart(const void* Data, SIZE_T Size, SIZE_T BytesRemaining);
	void OnWhole();
	void Push(const refit_rt::Message& Message);
	void RemoveWhoLeft();
	FName NameOf(int32 Place) const;

	const FString Address;
	ILiveLinkClient* Client = nullptr;
	FGuid SourceGuid;
	TSharedPtr<IWebSocket> Socket;
	bool bConnected = false;
	double RetryAtS = 0; // 0: none is due
	TArray<uint8> Received;
	refit_rt::Message Newest; // kept: it is changed only by a message that can be read
	refit_rt::Crowd Crowd;
	TSet<int32> Subjects; // places whose static data are pushed
	int64 Faults = 0;     // messages that could not be read
	FString Error;        // of the connection
};
