// Answers ARP and ping on a virtio network device.

#include "virtio_net.h"

#define ADDRESS_SIZE 4
#define MINIMUM 60  // bytes of a frame, without its checksum (IEEE 802.3)

// Numbers on the network have their first byte first.
#define NETWORK_ORDER(number) __builtin_bswap16(number)
#define TYPE_ARP NETWORK_ORDER(0x0806)
#define TYPE_IPV4 NETWORK_ORDER(0x0800)

struct ethernet {
    uint8_t to[MAC_SIZE], from[MAC_SIZE];
    uint16_t type;
} __attribute__((packed));

// RFC 826.
struct arp {
    struct ethernet ethernet;
    uint16_t hardware, protocol;
    uint8_t hardware_size, protocol_size;
    uint16_t operation;
    uint8_t sender_mac[MAC_SIZE], sender[ADDRESS_SIZE], target_mac[MAC_SIZE], target[ADDRESS_SIZE];
} __attribute__((packed));
#define ARP_ETHERNET NETWORK_ORDER(1)
#define ARP_REQUEST NETWORK_ORDER(1)
#define ARP_REPLY NETWORK_ORDER(2)

// RFC 791, with a header of 20 bytes and so without options, and RFC 792.
struct ping {
    struct ethernet ethernet;
    uint8_t version, service;
    uint16_t size, id, fragment;
    uint8_t lifetime, protocol;
    uint16_t header_checksum;
    uint8_t from[ADDRESS_SIZE], to[ADDRESS_SIZE];
    uint8_t type, code;
    uint16_t checksum;
} __attribute__((packed));
#define IPV4_WITHOUT_OPTIONS 0x45
#define NOT_FRAGMENTED NETWORK_ORDER(0x4000)  // the one bit that a whole packet may have
#define ICMP 1
#define ECHO 8
#define ECHO_REPLY 0

static uint8_t address[ADDRESS_SIZE] = {192, 168, 7, 2};
static uint64_t requests, pings, others;

// Zero if it isn't an address such as 192.168.7.2.
static int parse_address(const char *text) {
    for (unsigned i = 0; i < ADDRESS_SIZE; i++) {
        uint64_t part = parse_number(&text);
        if (part > 255 || (i < ADDRESS_SIZE - 1 && *text++ != '.'))
            return 0;
        address[i] = (uint8_t)part;
    }
    return *text == 0 || *text == ' ';
}

static void swap(void *one, void *other, size_t size) {
    uint8_t middle[MAC_SIZE];
    memcpy(middle, one, size);
    memcpy(one, other, size);
    memcpy(other, middle, size);
}

static void answer_to(struct ethernet *ethernet) {
    memcpy(ethernet->to, ethernet->from, MAC_SIZE);
    memcpy(ethernet->from, network.mac, MAC_SIZE);
}

// Makes the answer out of the request. 0 if it isn't one for us.
static int answer_arp(struct arp *arp, size_t size) {
    if (size < sizeof(*arp) || arp->hardware != ARP_ETHERNET || arp->protocol != TYPE_IPV4 ||
        arp->operation != ARP_REQUEST || memcmp(arp->target, address, ADDRESS_SIZE))
        return 0;
    answer_to(&arp->ethernet);
    arp->operation = ARP_REPLY;
    memcpy(arp->target_mac, arp->sender_mac, MAC_SIZE);
    memcpy(arp->sender_mac, network.mac, MAC_SIZE);
    swap(arp->sender, arp->target, ADDRESS_SIZE);
    requests++;
    return 1;
}

static int answer_ping(struct ping *ping, size_t size) {
    if (size < sizeof(*ping) || ping->version != IPV4_WITHOUT_OPTIONS || ping->protocol != ICMP ||
        ping->fragment & ~NOT_FRAGMENTED || ping->type != ECHO ||
        memcmp(ping->to, address, ADDRESS_SIZE))
        return 0;
    answer_to(&ping->ethernet);
    swap(ping->from, ping->to, ADDRESS_SIZE);
    ping->type = ECHO_REPLY;
    // A word of what is summed up is less by 0x0800, so the sum's complement is more (RFC 1624).
    uint32_t sum = (uint32_t)ping->checksum + NETWORK_ORDER(ECHO << 8);
    ping->checksum = (uint16_t)(sum + (sum >> 16));
    pings++;
    return 1;
}

// Whoever knew another machine by this address learns better (RFC 5227, 2.3).
static void announce(void) {
    struct arp *arp = (struct arp *)network_frame(OWN_SLOT);
    *arp = (struct arp){.ethernet.type = TYPE_ARP, .hardware = ARP_ETHERNET, .protocol = TYPE_IPV4,
                        .hardware_size = MAC_SIZE, .protocol_size = ADDRESS_SIZE,
                        .operation = ARP_REQUEST};
    memset(arp->ethernet.to, 0xff, MAC_SIZE);
    memcpy(arp->ethernet.from, network.mac, MAC_SIZE);
    memcpy(arp->sender_mac, network.mac, MAC_SIZE);
    memcpy(arp->sender, address, ADDRESS_SIZE);
    memcpy(arp->target, address, ADDRESS_SIZE);
    network_send(OWN_SLOT, MINIMUM);
}

static void serve(unsigned slot, size_t size) {
    struct ethernet *ethernet = (struct ethernet *)network_frame(slot);
    int answered = 0;
    if (size >= sizeof(*ethernet) && ethernet->type == TYPE_ARP)
        answered = answer_arp((struct arp *)ethernet, size);
    else if (size >= sizeof(*ethernet) && ethernet->type == TYPE_IPV4)
        answered = answer_ping((struct ping *)ethernet, size);
    if (answered) {
        network_send(slot, size);
    } else {
        network_drop(slot);
        others++;
    }
}

int main(const struct hvm_start_info *info) {
    const char *line = (const char *)info->cmdline_paddr;
    const char *word = find_word(line, "address=");
    const char *most = find_word(line, "count=");
    uint64_t count = most ? parse_number(&most) : UINT64_MAX;
    unsigned irq;
    if (word && !parse_address(word)) {
        print("address= is an address such as 192.168.7.2\n");
        return 1;
    }
    uintptr_t registers = virtio_find(line, VIRTIO_NETWORK, &irq);
    if (!registers) {
        print("there is no network device (--network tap gives one)\n");
        return 1;
    }
    const char *problem = network_open(registers, irq);
    if (problem) {
        print("the network device at %lx: %s\n", registers, problem);
        return 1;
    }
    const uint8_t *mac = network.mac;
    print("%02x:%02x:%02x:%02x:%02x:%02x is %u.%u.%u.%u\n", mac[0], mac[1], mac[2], mac[3], mac[4],
          mac[5], address[0], address[1], address[2], address[3]);
    announce();
    while (pings < count) {
        size_t size;
        int slot = network_receive(&size);
        if (slot >= 0)
            serve((unsigned)slot, size);
        else
            network_wait();
    }
    network_finish();
    print("%lu ARP requests, %lu pings, %lu others\n", requests, pings, others);
    print("%lu interrupts, %lu notifications\n", network.device.interrupts,
          network.device.notifications);
    return 0;
}
