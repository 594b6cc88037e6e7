/* The few MQTT 3.1.1 packets a load generator speaks, in the shapes of wire.h.
 *
 * Responsible for: bytes of CONNECT, SUBSCRIBE, PINGREQ and PUBLISH; reading the fields of received packets that matter
 * for counting. Must not know: sockets, who sends what when.
 *
 * Addresses and patterns come in the spelling of CLASP and travel in that of MQTT: no slash first, "#" and "+". A stamp
 * travels in decimal digits, so that a router that gives payloads a type passes it on to CLASP as a number.
 */
#ifndef CLASPLOAD_MQTT_H
#define CLASPLOAD_MQTT_H

#include "wire.h"

extern const struct language mqtt_language;

/* The length of the packet at p, 0 while it is incomplete, -1 when it is none. */
ptrdiff_t mqtt_packet_length(const uint8_t *p, size_t n);

/* PUBACK for a message received at QoS 1; returns its length. */
size_t mqtt_puback(uint8_t *out, uint16_t packet_id);

#endif
