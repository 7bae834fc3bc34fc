// What the Unreal client uses of Unreal, as far as the tests need it, written from its documentation. It is no part of the
// client. The test puts a header of each name that the client includes beside it, which includes this one.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

using TCHAR = char;
using uint8 = std::uint8_t;
using int32 = std::int32_t;
using int64 = long long;
using SIZE_T = std::size_t;

#define TEXT(text) text
#define UTF8_TO_TCHAR(text) text
#define TCHAR_TO_UTF8(text) text
#define THIRD_PARTY_INCLUDES_START
#define THIRD_PARTY_INCLUDES_END
#define UCLASS(...)
#define UPROPERTY(...)
#define GENERATED_BODY()
#define REFITRTLIVELINK_API
#define IMPLEMENT_MODULE(type, name) extern type name##Module;
#define DEFINE_LOG_CATEGORY_STATIC(...)
#define UE_LOG(category, level, ...) stub::lines().push_back(std::string(#level ": ") + *FString::Printf(__VA_ARGS__))

namespace stub
{
inline std::vector<std::string>& lines()
{
	static std::vector<std::string> all;
	return all;
}

inline double& seconds()
{
	static double now = 100;
	return now;
}
}  // namespace stub

class FString
{
public:
	FString() = default;
	FString(const TCHAR* text) : text_(text) {}
	template <class... Values>
	static FString Printf(const TCHAR* format, Values... values)
	{
		char made[1000];
		std::snprintf(made, sizeof made, format, values...);
		return made;
	}
	static FString Printf(const TCHAR* text) { return text; }
	const TCHAR* operator*() const { return text_.c_str(); }
	bool IsEmpty() const { return text_.empty(); }
	void Reset() { text_.clear(); }
	bool StartsWith(const TCHAR* begin) const { return text_.rfind(begin, 0) == 0; }
	bool operator!=(const FString& other) const { return text_ != other.text_; }
	FString& operator+=(const FString& other) { return text_ += other.text_, *this; }
	friend FString operator+(const TCHAR* a, const FString& b) { return (a + b.text_).c_str(); }

private:
	std::string text_;
};

class FName
{
public:
	FName(const TCHAR* name) : name_(name) {}
	FString ToString() const { return name_.c_str(); }
	bool operator<(const FName& other) const { return name_ < other.name_; }

private:
	std::string name_;
};

class FText
{
public:
	static FText FromString(const FString& text)
	{
		FText made;
		made.text_ = text;
		return made;
	}
	FString ToString() const { return text_; }

private:
	FString text_;
};

template <class T>
class TArray
{
public:
	int32 Num() const { return static_cast<int32>(all_.size()); }
	void Add(const T& one) { all_.push_back(one); }
	void Append(const T* first, int32 count) { all_.insert(all_.end(), first, first + count); }
	void Reset() { all_.clear(); }
	const T* GetData() const { return all_.data(); }
	T& operator[](int32 index) { return all_.at(static_cast<std::size_t>(index)); }
	const T& operator[](int32 index) const { return all_.at(static_cast<std::size_t>(index)); }
	auto begin() const { return all_.begin(); }
	auto end() const { return all_.end(); }

private:
	std::vector<T> all_;
};

template <class T>
class TSet
{
public:
	void Add(const T& one) { all_.insert(one); }
	void Remove(const T& one) { all_.erase(one); }
	bool Contains(const T& one) const { return all_.count(one) > 0; }
	int32 Num() const { return static_cast<int32>(all_.size()); }
	TArray<T> Array() const
	{
		TArray<T> made;
		for (const T& one : all_) made.Add(one);
		return made;
	}

private:
	std::set<T> all_;
};

template <class Key, class Value>
class TMap
{
public:
	void Add(const Key& key, const Value& value) { all_.insert_or_assign(key, value); }

private:
	std::map<Key, Value> all_;
};

template <class T>
class TSharedPtr
{
public:
	TSharedPtr() = default;
	explicit TSharedPtr(std::shared_ptr<T> one) : one_(std::move(one)) {}
	template <class Other>
	TSharedPtr(const TSharedPtr<Other>& other) : one_(other.Get()) {}
	bool IsValid() const { return one_ != nullptr; }
	void Reset() { one_.reset(); }
	T* operator->() const { return one_.get(); }
	const std::shared_ptr<T>& Get() const { return one_; }

private:
	std::shared_ptr<T> one_;
};

template <class T>
using TSharedRef = TSharedPtr<T>;

template <class T, class... Values>
TSharedPtr<T> MakeShared(Values&&... values)
{
	return TSharedPtr<T>(std::make_shared<T>(std::forward<Values>(values)...));
}

template <class T>
using TSharedFromThis = std::enable_shared_from_this<T>;

template <class T>
T&& MoveTemp(T& one)
{
	return std::move(one);
}

template <class... Values>
class TEvent
{
public:
	template <class Owner>
	void AddSP(Owner* owner, void (Owner::*method)(Values...))
	{
		const std::weak_ptr<Owner> weak = owner->weak_from_this();
		calls_.push_back([weak, method](Values... values) {
			if (const auto alive = weak.lock()) ((*alive).*method)(values...);
		});
	}
	void Broadcast(Values... values) const
	{
		for (const auto& call : calls_) call(values...);
	}

private:
	std::vector<std::function<void(Values...)>> calls_;
};

struct FVector
{
	double X = 0, Y = 0, Z = 0;
	FVector(double x, double y, double z) : X(x), Y(y), Z(z) {}
};

struct FQuat
{
	double X = 0, Y = 0, Z = 0, W = 1;
	FQuat(double x, double y, double z, double w) : X(x), Y(y), Z(z), W(w) {}
};

class FTransform
{
public:
	FTransform(const FQuat& turn, const FVector& place) : turn_(turn), place_(place) {}
	FQuat GetRotation() const { return turn_; }
	FVector GetLocation() const { return place_; }
	FVector GetScale3D() const { return scale_; }
	void SetScale3D(const FVector& scale) { scale_ = scale; }

private:
	FQuat turn_;
	FVector place_, scale_{1, 1, 1};
};

struct FGuid
{
};

struct FPlatformTime
{
	static double Seconds() { return stub::seconds(); }
};

struct FDefaultModuleImpl
{
};

class UObject
{
public:
	virtual ~UObject() = default;
	FString GetName() const { return "Manny"; }
};

// --- Live Link

struct FLiveLinkSubjectKey
{
	FGuid Source;
	FName SubjectName;
	FLiveLinkSubjectKey(FGuid source, FName name) : Source(source), SubjectName(name) {}
};

struct UScriptStruct
{
};

template <class T>
struct TStruct
{
	static UScriptStruct* StaticStruct()
	{
		static UScriptStruct one;
		return &one;
	}
};

struct FLiveLinkBaseStaticData
{
};

struct FLiveLinkSkeletonStaticData : FLiveLinkBaseStaticData, TStruct<FLiveLinkSkeletonStaticData>
{
	TArray<FName> Names;
	TArray<int32> Parents;
	void SetBoneNames(const TArray<FName>& names) { Names = names; }
	void SetBoneParents(const TArray<int32>& parents) { Parents = parents; }
};

struct FLiveLinkWorldTime
{
	double Seconds = 0;
	FLiveLinkWorldTime() = default;
	FLiveLinkWorldTime(double seconds) : Seconds(seconds) {}
};

struct FLiveLinkMetaData
{
	TMap<FName, FString> StringMetaData;
};

struct FLiveLinkBaseFrameData
{
	FLiveLinkWorldTime WorldTime;
	FLiveLinkMetaData MetaData;
};

struct FLiveLinkAnimationFrameData : FLiveLinkBaseFrameData, TStruct<FLiveLinkAnimationFrameData>
{
	TArray<FTransform> Transforms;
};

template <class T>
class TDataStruct
{
public:
	explicit TDataStruct(const UScriptStruct*) {}
	TDataStruct(TDataStruct&&) = default;  // it is not copied
	template <class Wanted>
	Wanted* Cast()
	{
		return &data_;
	}

private:
	T data_;
};

using FLiveLinkStaticDataStruct = TDataStruct<FLiveLinkSkeletonStaticData>;
using FLiveLinkFrameDataStruct = TDataStruct<FLiveLinkAnimationFrameData>;

class UClass
{
};

struct ULiveLinkAnimationRole
{
	static UClass* StaticClass()
	{
		static UClass one;
		return &one;
	}
};

class ILiveLinkClient
{
public:
	virtual ~ILiveLinkClient() = default;
	virtual void PushSubjectStaticData_AnyThread(const FLiveLinkSubjectKey&, UClass* Role, FLiveLinkStaticDataStruct&&) = 0;
	virtual void PushSubjectFrameData_AnyThread(const FLiveLinkSubjectKey&, FLiveLinkFrameDataStruct&&) = 0;
	virtual void RemoveSubject_AnyThread(const FLiveLinkSubjectKey&) = 0;
};

class ILiveLinkSource
{
public:
	virtual ~ILiveLinkSource() = default;
	virtual void ReceiveClient(ILiveLinkClient*, FGuid) = 0;
	virtual void Update() {}
	virtual bool IsSourceStillValid() const = 0;
	virtual bool RequestSourceShutdown() = 0;
	virtual FText GetSourceType() const = 0;
	virtual FText GetSourceMachineName() const = 0;
	virtual FText GetSourceStatus() const = 0;
};

class ULiveLinkSourceFactory : public UObject
{
public:
	enum class EMenuType
	{
		Disabled,
		SubPanel,
		MenuEntry,
	};
	virtual FText GetSourceDisplayName() const { return {}; }
	virtual FText GetSourceTooltip() const { return {}; }
	virtual EMenuType GetMenuType() const { return EMenuType::Disabled; }
	virtual TSharedPtr<ILiveLinkSource> CreateSource(const FString&) const { return {}; }
};

// --- poses

struct FMeshPoseBoneIndex
{
	int32 Index;
	int32 GetInt() const { return Index; }
};

struct FCompactPoseBoneIndex
{
	int32 Index;
	explicit FCompactPoseBoneIndex(int32 index) : Index(index) {}
	int32 GetInt() const { return Index; }
};

struct FReferenceSkeleton
{
	std::vector<FName> Names;
	FName GetBoneName(int32 index) const { return Names.at(static_cast<std::size_t>(index)); }
};

struct FBoneContainer
{
	UObject Asset;
	FReferenceSkeleton Skeleton;
	std::vector<int32> Parents;
	std::vector<FTransform> Reference;
	const UObject* GetAsset() const { return &Asset; }
	const FReferenceSkeleton& GetReferenceSkeleton() const { return Skeleton; }
	FMeshPoseBoneIndex MakeMeshPoseIndex(const FCompactPoseBoneIndex& bone) const { return {bone.Index}; }
	FCompactPoseBoneIndex GetParentBoneIndex(const FCompactPoseBoneIndex& bone) const
	{
		return FCompactPoseBoneIndex(Parents.at(static_cast<std::size_t>(bone.Index)));
	}
	const FTransform& GetRefPoseTransform(const FCompactPoseBoneIndex& bone) const
	{
		return Reference.at(static_cast<std::size_t>(bone.Index));
	}
};

struct FCompactPose
{
	FBoneContainer Container;
	std::vector<FTransform> Bones;
	const FBoneContainer& GetBoneContainer() const { return Container; }
	int32 GetNumBones() const { return static_cast<int32>(Bones.size()); }
	FTransform& operator[](const FCompactPoseBoneIndex& bone) { return Bones.at(static_cast<std::size_t>(bone.Index)); }
};

struct FBlendedCurve
{
};

class ULiveLinkRetargetAsset : public UObject
{
public:
	virtual void BuildPoseFromAnimationData(float, const FLiveLinkSkeletonStaticData*, const FLiveLinkAnimationFrameData*,
		FCompactPose&)
	{
	}
	virtual void BuildPoseAndCurveFromBaseData(float, const FLiveLinkBaseStaticData*, const FLiveLinkBaseFrameData*,
		FCompactPose&, FBlendedCurve&)
	{
	}
};

// --- WebSockets and settings

class IWebSocket
{
public:
	TEvent<> Connected;
	TEvent<const FString&> ConnectionError;
	TEvent<int32, const FString&, bool> Closed;
	TEvent<const void*, SIZE_T, SIZE_T> RawMessage;
	bool open = false;
	auto& OnConnected() { return Connected; }
	auto& OnConnectionError() { return ConnectionError; }
	auto& OnClosed() { return Closed; }
	auto& OnRawMessage() { return RawMessage; }
	void Connect() { open = true; }
	void Close() { open = false; }
};

class FWebSocketsModule
{
public:
	std::vector<std::pair<FString, std::shared_ptr<IWebSocket>>> made;
	static FWebSocketsModule& Get()
	{
		static FWebSocketsModule one;
		return one;
	}
	TSharedRef<IWebSocket> CreateWebSocket(const FString& url, const FString&)
	{
		made.emplace_back(url, std::make_shared<IWebSocket>());
		return TSharedRef<IWebSocket>(made.back().second);
	}
};

struct FModuleManager
{
	template <class T>
	static T& LoadModuleChecked(const FName&)
	{
		return T::Get();
	}
};

struct FConfig
{
	bool GetString(const TCHAR*, const TCHAR*, FString&, const FString&) const { return false; }
	bool GetBool(const TCHAR*, const TCHAR*, bool&, const FString&) const { return false; }
};

inline const FConfig config;
inline const FConfig* const GConfig = &config;
inline const FString GGameIni;
