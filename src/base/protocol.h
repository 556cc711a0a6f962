#pragma once
/* What a worker and a server say to each other, numbered. It rises when a worker's call gains a member: a server of a lower number then
 * passes over what it does not know, instead of refusing it as a mistake. A member must therefore be safe to miss (ADR 13). */
#define HAUL_PROTOCOL      2
#define HAUL_PROTOCOL_TEXT "2"
#define HAUL_PROTOCOL_NAME "Haul-Protocol" /* the header that says it */
