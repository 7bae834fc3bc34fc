// Receives a refit_rt stream by ZeroMQ. It needs the NetMQ package, and is compiled where REFIT_RT_NETMQ is among the
// scripting define symbols of the project. Without it, use WebSocketReceiver.
#if REFIT_RT_NETMQ
using System;
using System.Threading;
using NetMQ;
using NetMQ.Sockets;

namespace RefitRt
{
    /// <summary>A thread that subscribes at tcp://HOST:PORT. ZeroMQ connects again by itself.</summary>
    public sealed class NetMqReceiver : Receiver
    {
        private const int JoinMs = 2000;
        private static readonly TimeSpan wait = TimeSpan.FromMilliseconds(100);

        private readonly string address;
        private readonly Thread thread;
        private volatile bool stopped;

        public NetMqReceiver(string address)
        {
            this.address = address;
            thread = new Thread(Run) { IsBackground = true, Name = "refit_rt NetMQ" };
            thread.Start();
        }

        /// <summary>Ends the thread and NetMQ's own ones, without which Unity's editor freezes at the next start.</summary>
        public override void Dispose()
        {
            stopped = true;
            thread.Join(JoinMs);
            NetMQConfig.Cleanup(false);
        }

        private void Run()
        {
            try
            {
                AsyncIO.ForceDotNet.Force(); // Unity's runtime has no native completion ports
                using (var socket = new SubscriberSocket())
                {
                    socket.Options.MaxMsgSize = MostBytes;
                    socket.Connect(address);
                    socket.SubscribeToAnyTopic();
                    while (!stopped) Receive(socket);
                }
            }
            catch (Exception error) // an address that is none, or a context that is gone
            {
                string reason = error.Message.Split('\n')[0].Trim().TrimEnd('.');
                Say(address + ": " + reason + ". Give an address such as tcp://127.0.0.1:5560");
            }
            Connected = false;
        }

        private void Receive(SubscriberSocket socket)
        {
            byte[] bytes;
            if (!socket.TryReceiveFrameBytes(wait, out bytes)) return;
            Connected = true;
            do Put(bytes); // NetMQ has no CONFLATE: what waits is read, and the last one stays
            while (socket.TryReceiveFrameBytes(out bytes));
        }
    }
}
#endif
