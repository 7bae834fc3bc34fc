// A component that receives a refit_rt stream and gives each person a place. Avatars (RefitRtAvatar) read from it.
using System;
using System.Collections.Generic;
using UnityEngine;

namespace RefitRt
{
    [DefaultExecutionOrder(-100)] // before the avatars
    public sealed class RefitRtStream : MonoBehaviour
    {
        private const float AwayS = 2; // after which a person's place goes to another one

        [Tooltip("ws://HOST:PORT of a WebSocket outlet; tcp://HOST:PORT of the stream itself needs NetMQ")]
        public string address = "ws://127.0.0.1:8765";

        /// <summary>The stream that was enabled last: what an avatar without one uses.</summary>
        public static RefitRtStream Current { get; private set; }

        /// <summary>The newest message; null before the first one.</summary>
        public Message Message { get; private set; }

        /// <summary>Its counts and its last error; null where the address cannot be used.</summary>
        public Receiver Receiver { get; private set; }

        private sealed class Holder
        {
            internal long Id;
            internal float SeenS;
            internal Body Body;
        }

        private readonly List<Holder> places = new List<Holder>();
        private string said;

        /// <summary>The person at a place, 0 for the first one; null: nobody is there at present.</summary>
        public Body Person(int place)
        {
            return place >= 0 && place < places.Count ? places[place].Body : null;
        }

        private void OnEnable()
        {
            Current = this;
            try
            {
                Receiver = Open(address.Trim());
            }
            catch (Exception error) // an address that is none
            {
                Complain("'" + address + "' is no address (" + error.Message + "). Give one such as ws://127.0.0.1:8765");
            }
        }

        private void OnDisable()
        {
            if (Receiver != null) Receiver.Dispose();
            Receiver = null;
            places.Clear();
            if (Current == this) Current = null;
        }

        private Receiver Open(string where)
        {
            if (where.StartsWith("ws://") || where.StartsWith("wss://")) return new WebSocketReceiver(where);
            if (!where.StartsWith("tcp://")) throw new UriFormatException("it begins with neither ws:// nor tcp://");
#if REFIT_RT_NETMQ
            return new NetMqReceiver(where);
#else
            Complain("tcp:// needs the NetMQ package and the scripting define symbol REFIT_RT_NETMQ. "
                + "Without them, use the WebSocket outlet: ws://127.0.0.1:8765");
            return null;
#endif
        }

        private void Update()
        {
            if (Receiver == null) return;
            Message newer = Receiver.Take();
            if (Receiver.Error != null) Complain(Receiver.Error);
            if (newer != null) Show(newer);
        }

        /// <summary>Gives the people of a message their places. For messages that come another way than by Receiver.</summary>
        public void Show(Message newer)
        {
            if (Message != null && newer.Frame < Message.Frame) places.Clear(); // another run, whose ids begin again
            Message = newer;
            float now = Time.unscaledTime;
            foreach (Holder holder in places) holder.Body = null;
            for (int row = 0; row < newer.People.Count; ++row)
            {
                Body body = Body.Of(newer, row);
                if (body == null) continue;
                Holder holder = HolderOf(body.Id, now);
                holder.Body = body;
                holder.SeenS = now;
            }
        }

        private Holder HolderOf(long id, float now)
        {
            int free = -1;
            for (int i = places.Count - 1; i >= 0; --i)
            {
                if (places[i].Id == id) return places[i];
                if (places[i].Body == null && now - places[i].SeenS > AwayS) free = i;
            }
            var holder = new Holder { Id = id };
            if (free < 0) places.Add(holder);
            else places[free] = holder;
            return holder;
        }

        // Each text once, until another one comes.
        private void Complain(string text)
        {
            if (text == said) return;
            said = text;
            Debug.LogWarning("refit_rt: " + text, this);
        }
    }
}
