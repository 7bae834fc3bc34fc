// The names that the Unity client uses of NetMQ, written from its documentation. They do nothing: they only compile.
using System;

namespace AsyncIO
{
    public static class ForceDotNet
    {
        public static void Force() { }
    }
}

namespace NetMQ
{
    public static class NetMQConfig
    {
        public static void Cleanup(bool block = true) { }
    }

    public class SocketOptions
    {
        public long MaxMsgSize { get; set; }
    }

    public interface IReceivingSocket { }

    public abstract class NetMQSocket : IReceivingSocket, IDisposable
    {
        public readonly SocketOptions Options = new SocketOptions();
        public void Connect(string address) { }
        public void Dispose() { }
    }

    public static class ReceivingSocketExtensions
    {
        public static bool TryReceiveFrameBytes(this IReceivingSocket socket, out byte[] bytes)
        {
            bytes = null;
            return false;
        }

        public static bool TryReceiveFrameBytes(this IReceivingSocket socket, TimeSpan timeout, out byte[] bytes)
        {
            bytes = null;
            return false;
        }
    }
}

namespace NetMQ.Sockets
{
    public class SubscriberSocket : NetMQSocket
    {
        public void SubscribeToAnyTopic() { }
    }
}
