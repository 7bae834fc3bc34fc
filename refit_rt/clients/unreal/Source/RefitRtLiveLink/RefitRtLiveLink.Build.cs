using UnrealBuildTool;

public class RefitRtLiveLink : ModuleRules
{
    public RefitRtLiveLink(ReadOnlyTargetRules Target) : base(Target)
    {
        PCHUsage = PCHUsageMode.UseExplicitOrSharedPCHs;
        PublicDependencyModuleNames.AddRange(new[] { "Core", "CoreUObject", "Engine", "LiveLinkInterface", "LiveLinkAnimationCore" });
        PrivateDependencyModuleNames.AddRange(new[] { "WebSockets" }); // a part of Unreal: no third-party library is needed
    }
}
