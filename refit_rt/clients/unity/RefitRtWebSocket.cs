// Receives a refit_rt stream from its WebSocket outlet. It needs no package: ClientWebSocket is a part of .NET and Unity.
// It does not work in WebGL builds, which have no threads and no sockets.
using System;
using System.IO;
using System.Net.WebSockets;
using System.Threading;

namespace RefitRt
{
    /// <summary>A thread that connects to ws://HOST:PORT, and again when the connection is lost.</summary>
    public sealed class WebSocketReceiver : Receiver
    {
        private const int ChunkBytes = 1 << 16;
        private const int JoinMs = 2000;

        private readonly Uri address;
        private readonly TimeSpan retry;
        private readonly CancellationTokenSource stop = new CancellationTokenSource();
        private readonly Thread thread;

        /// <summary>Throws UriFormatException for an address that is none.</summary>
        public WebSocketReceiver(string address, double retryS = 1)
        {
            this.address = new Uri(address);
            retry = TimeSpan.FromSeconds(retryS);
            thread = new Thread(Run) { IsBackground = true, Name = "refit_rt WebSocket" };
            thread.Start();
        }

        /// <summary>Ends the thread and the connection.</summary>
        public override void Dispose()
        {
            stop.Cancel();
            thread.Join(JoinMs);
        }

        private void Run()
        {
            while (!stop.IsCancellationRequested)
            {
                try
                {
                    using (var socket = new ClientWebSocket()) Listen(socket);
                }
                catch (Exception error) // refused, lost, or cancelled
                {
                    if (!stop.IsCancellationRequested)
                        Say(address.Host + ":" + address.Port + ": " + error.GetBaseException().Message.TrimEnd('.')
                            + ". Start the outlet (refit-rt run --publish.outlets websocket), and give its token if it has one");
                }
                Connected = false;
                stop.Token.WaitHandle.WaitOne(retry);
            }
        }

        private void Listen(ClientWebSocket socket)
        {
            socket.ConnectAsync(address, stop.Token).Wait();
            Connected = true;
            Say(null);
            var chunk = new byte[ChunkBytes];
            var message = new MemoryStream();
            while (true)
            {
                // The outlet sends the next message when its ping is answered, which ClientWebSocket does in here.
                WebSocketReceiveResult part =
                    socket.ReceiveAsync(new ArraySegment<byte>(chunk), stop.Token).GetAwaiter().GetResult();
                if (part.MessageType == WebSocketMessageType.Close) return;
                if (message.Length + part.Count > MostBytes)
                    throw new IOException("a message is larger than " + MostBytes + " bytes. Check the address");
                message.Write(chunk, 0, part.Count);
                if (!part.EndOfMessage) continue;
                Put(message.ToArray());
                message.SetLength(0);
            }
        }
    }
}
