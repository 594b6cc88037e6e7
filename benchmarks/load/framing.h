/* How messages are told apart on a connection. */
#ifndef CLASPLOAD_FRAMING_H
#define CLASPLOAD_FRAMING_H

enum link_framing {
    FRAMING_WEBSOCKET, /* one binary WebSocket frame each */
    FRAMING_LENGTH,    /* a length in four bytes before each */
    FRAMING_MQTT,      /* the message says its length itself */
};

#endif
