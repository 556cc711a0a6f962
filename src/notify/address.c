/* What IANA's registries of special-purpose addresses name is not public (RFC 6890 and its successors). Of IPv6 only 2000::/3 is given out. */
#include "notify/address.h"
#include "base/auto.h"
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

static const struct {
    uint32_t net;
    unsigned bits;
} special4[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* shared: carrier-grade NAT */
    {0x7f000000, 8},  /* loopback */
    {0xa9fe0000, 16}, /* link-local, and a cloud's metadata */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* IETF protocols */
    {0xc0000200, 24}, /* documentation */
    {0xc0586300, 24}, /* 6to4 relays of old */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xc6336400, 24}, /* documentation */
    {0xcb007100, 24}, /* documentation */
    {0xe0000000, 4},  /* multicast */
    {0xf0000000, 4},  /* reserved, broadcast */
};

static const struct {
    uint8_t net[16];
    unsigned bits;
} special6[] = {
    {{0x20, 0x01}, 23},             /* IETF protocols, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02}, 16},             /* 6to4 */
    {{0x3f, 0xff}, 20},             /* documentation */
};
static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, nat64[12] = {0, 0x64, 0xff, 0x9b};

static bool public4(uint32_t address)
{
    for (size_t i = 0; i < ARRAY_LEN(special4); i++)
        if ((address ^ special4[i].net) >> (32 - special4[i].bits) == 0)
            return false;
    return true;
}

static bool within(const uint8_t *address, const uint8_t *net, unsigned bits)
{
    const unsigned whole = bits / 8, rest = bits % 8;

    return memcmp(address, net, whole) == 0 && (rest == 0 || (address[whole] ^ net[whole]) >> (8 - rest) == 0);
}

static bool public6(const uint8_t *a)
{
    if (memcmp(a, mapped, sizeof(mapped)) == 0 || memcmp(a, nat64, sizeof(nat64)) == 0)
        return public4((uint32_t)a[12] << 24 | (uint32_t)a[13] << 16 | (uint32_t)a[14] << 8 | a[15]);
    if (a[0] >> 5 != 1)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(special6); i++)
        if (within(a, special6[i].net, special6[i].bits))
            return false;
    return true;
}

bool address_public(const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof(v4));
        return public4(ntohl(v4.sin_addr.s_addr));
    }
    if (address->sa_family != AF_INET6)
        return false;
    memcpy(&v6, address, sizeof(v6));
    return public6(v6.sin6_addr.s6_addr);
}
