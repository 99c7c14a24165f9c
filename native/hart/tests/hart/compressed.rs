//! C extension: expansions, against binutils.

use std::collections::HashMap;
use std::io::Write;
use std::process::Command;

use virtmesh_hart::decode::compressed::expand;

/// Each instruction of RV64C at the edges of its fields, and its 32-bit form, both as binutils 2.40
/// assembles them.
#[rustfmt::skip]
const PAIRS: &[(u16, u32)] = &[
    (0x0048, 0x0041_0513), // c.addi4spn a0,sp,4
    (0x1ffc, 0x3fc1_0793), // c.addi4spn a5,sp,1020
    (0x0020, 0x0081_0413), // c.addi4spn s0,sp,8
    (0x2188, 0x0005_b507), // c.fld fa0,0(a1)
    (0x3c64, 0x0f84_3487), // c.fld fs1,248(s0)
    (0x4188, 0x0005_a503), // c.lw a0,0(a1)
    (0x5fe4, 0x07c7_a483), // c.lw s1,124(a5)
    (0x4030, 0x0404_2603), // c.lw a2,64(s0)
    (0x6188, 0x0005_b503), // c.ld a0,0(a1)
    (0x7fe4, 0x0f87_b483), // c.ld s1,248(a5)
    (0xa188, 0x00a5_b027), // c.fsd fa0,0(a1)
    (0xbcfc, 0x0ef4_bc27), // c.fsd fa5,248(s1)
    (0xc1c8, 0x00a5_a223), // c.sw a0,4(a1)
    (0xdfe4, 0x0697_ae23), // c.sw s1,124(a5)
    (0xe588, 0x00a5_b423), // c.sd a0,8(a1)
    (0xffe4, 0x0e97_bc23), // c.sd s1,248(a5)
    (0x0001, 0x0000_0013), // c.nop
    (0x0505, 0x0015_0513), // c.addi a0,1
    (0x1f81, 0xfe0f_8f93), // c.addi t6,-32
    (0x017d, 0x01f1_0113), // c.addi sp,31
    (0x2501, 0x0005_051b), // c.addiw a0,0
    (0x3f81, 0xfe0f_8f9b), // c.addiw t6,-32
    (0x20fd, 0x01f0_809b), // c.addiw ra,31
    (0x557d, 0xfff0_0513), // c.li a0,-1
    (0x4ffd, 0x01f0_0f93), // c.li t6,31
    (0x5901, 0xfe00_0913), // c.li s2,-32
    (0x6141, 0x0101_0113), // c.addi16sp sp,16
    (0x7101, 0xe001_0113), // c.addi16sp sp,-512
    (0x617d, 0x1f01_0113), // c.addi16sp sp,496
    (0x6105, 0x0201_0113), // c.addi16sp sp,32
    (0x6121, 0x0401_0113), // c.addi16sp sp,64
    (0x6109, 0x0801_0113), // c.addi16sp sp,128
    (0x6111, 0x1001_0113), // c.addi16sp sp,256
    (0x6505, 0x0000_1537), // c.lui a0,1
    (0x7ffd, 0xffff_ffb7), // c.lui t6,0xfffff
    (0x60fd, 0x0001_f0b7), // c.lui ra,31
    (0x7781, 0xfffe_07b7), // c.lui a5,0xfffe0
    (0x8105, 0x0015_5513), // c.srli a0,1
    (0x90fd, 0x03f4_d493), // c.srli s1,63
    (0x9381, 0x0207_d793), // c.srli a5,32
    (0x8505, 0x4015_5513), // c.srai a0,1
    (0x94fd, 0x43f4_d493), // c.srai s1,63
    (0x997d, 0xfff5_7513), // c.andi a0,-1
    (0x88fd, 0x01f4_f493), // c.andi s1,31
    (0x9b81, 0xfe07_f793), // c.andi a5,-32
    (0x8d0d, 0x40b5_0533), // c.sub a0,a1
    (0x8c3d, 0x00f4_4433), // c.xor s0,a5
    (0x8ec5, 0x0096_e6b3), // c.or a3,s1
    (0x8e79, 0x00e6_7633), // c.and a2,a4
    (0x9d0d, 0x40b5_053b), // c.subw a0,a1
    (0x9cbd, 0x00f4_84bb), // c.addw s1,a5
    (0x0506, 0x0015_1513), // c.slli a0,1
    (0x1ffe, 0x03ff_9f93), // c.slli t6,63
    (0x2502, 0x0001_3507), // c.fldsp fa0,0(sp)
    (0x3ffe, 0x1f81_3f87), // c.fldsp ft11,504(sp)
    (0x4502, 0x0001_2503), // c.lwsp a0,0(sp)
    (0x5ffe, 0x0fc1_2f83), // c.lwsp t6,252(sp)
    (0x4086, 0x0401_2083), // c.lwsp ra,64(sp)
    (0x6502, 0x0001_3503), // c.ldsp a0,0(sp)
    (0x7ffe, 0x1f81_3f83), // c.ldsp t6,504(sp)
    (0x6092, 0x1001_3083), // c.ldsp ra,256(sp)
    (0x8082, 0x0000_8067), // c.jr ra
    (0x8f82, 0x000f_8067), // c.jr t6
    (0x857e, 0x01f0_0533), // c.mv a0,t6
    (0x8f86, 0x0010_0fb3), // c.mv t6,ra
    (0x9002, 0x0010_0073), // c.ebreak
    (0x9082, 0x0000_80e7), // c.jalr ra
    (0x9782, 0x0007_80e7), // c.jalr a5
    (0x957e, 0x01f5_0533), // c.add a0,t6
    (0x9f86, 0x001f_8fb3), // c.add t6,ra
    (0xa02a, 0x00a1_3027), // c.fsdsp fa0,0(sp)
    (0xbffe, 0x1ff1_3c27), // c.fsdsp ft11,504(sp)
    (0xc02a, 0x00a1_2023), // c.swsp a0,0(sp)
    (0xdffe, 0x0ff1_2e23), // c.swsp t6,252(sp)
    (0xe02a, 0x00a1_3023), // c.sdsp a0,0(sp)
    (0xfffe, 0x1ff1_3c23), // c.sdsp t6,504(sp)
    (0xa009, 0x0020_006f), // c.j .+2
    (0xbffd, 0xffff_f06f), // c.j .-2
    (0xa801, 0x0100_006f), // c.j .+16
    (0xa005, 0x0200_006f), // c.j .+32
    (0xa081, 0x0400_006f), // c.j .+64
    (0xa041, 0x0800_006f), // c.j .+128
    (0xa201, 0x1000_006f), // c.j .+256
    (0xa401, 0x2000_006f), // c.j .+512
    (0xa101, 0x4000_006f), // c.j .+1024
    (0xb001, 0x801f_f06f), // c.j .-2048
    (0xaffd, 0x7fe0_006f), // c.j .+2046
    (0xbb71, 0xd9df_f06f), // c.j .-612
    (0xc109, 0x0005_0163), // c.beqz a0,.+2
    (0xe089, 0x0004_9163), // c.bnez s1,.+2
    (0xdd7d, 0xfe05_0fe3), // c.beqz a0,.-2
    (0xfcfd, 0xfe04_9fe3), // c.bnez s1,.-2
    (0xc501, 0x0005_0463), // c.beqz a0,.+8
    (0xe481, 0x0004_9463), // c.bnez s1,.+8
    (0xc901, 0x0005_0863), // c.beqz a0,.+16
    (0xe881, 0x0004_9863), // c.bnez s1,.+16
    (0xc105, 0x0205_0063), // c.beqz a0,.+32
    (0xe085, 0x0204_9063), // c.bnez s1,.+32
    (0xc121, 0x0405_0063), // c.beqz a0,.+64
    (0xe0a1, 0x0404_9063), // c.bnez s1,.+64
    (0xc141, 0x0805_0063), // c.beqz a0,.+128
    (0xe0c1, 0x0804_9063), // c.bnez s1,.+128
    (0xd101, 0xf005_00e3), // c.beqz a0,.-256
    (0xf081, 0xf004_90e3), // c.bnez s1,.-256
    (0xcd7d, 0x0e05_0f63), // c.beqz a0,.+254
    (0xecfd, 0x0e04_9f63), // c.bnez s1,.+254
    (0xd15d, 0xfa05_03e3), // c.beqz a0,.-90
    (0xf0dd, 0xfa04_93e3), // c.bnez s1,.-90
];

#[test]
fn instructions_expand_as_the_assembler_says() {
    for &(parcel, word) in PAIRS {
        assert_eq!(expand(parcel), Some(word), "{parcel:#06x}");
    }
}

#[test]
fn reserved_encodings_are_illegal() {
    for parcel in [
        0x0000, // defined illegal
        0x0004, // C.ADDI4SPN with immediate 0
        0x8000, // funct3 4 of quadrant 0
        0x2001, // C.ADDIW with rd 0
        0x6101, // C.ADDI16SP with immediate 0
        0x6281, // C.LUI with immediate 0
        0x9c41, // quadrant 1, 1 00 111 10
        0x9c61, // and 11
        0x4002, // C.LWSP with rd 0
        0x6002, // C.LDSP with rd 0
        0x8002, // C.JR with rs1 0
    ] {
        assert_eq!(expand(parcel), None, "{parcel:#06x}");
    }
}

/// What a disassembler prints for each of `code`, by address.
fn disassemble(code: &[u8], name: &str) -> Option<HashMap<u64, String>> {
    let path = std::env::temp_dir().join(format!("virtmesh-{name}-{}", std::process::id()));
    std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(code))
        .expect("temporary file");
    let output = Command::new("riscv64-linux-gnu-objdump")
        .args([
            "-b",
            "binary",
            "-m",
            "riscv:rv64",
            "-M",
            "no-aliases,numeric",
            "-D",
            "-z",
        ])
        .arg(&path)
        .output();
    let _ = std::fs::remove_file(&path);
    let text = String::from_utf8(output.ok()?.stdout).expect("ASCII");
    Some(
        text.lines()
            .filter_map(|line| {
                let (address, rest) = line.trim_start().split_once(":\t")?;
                let address = u64::from_str_radix(address, 16).ok()?;
                let (_, text) = rest.split_once('\t')?;
                Some((address, text.split('#').next()?.trim().to_owned()))
            })
            .collect(),
    )
}

/// The disassembly of a compressed instruction as that of its expansion: by the table of the specification.
fn long_form(text: &str) -> Option<String> {
    let (name, operands) = text
        .strip_prefix("c.")?
        .split_once('\t')
        .unwrap_or((&text[2..], ""));
    let first = operands.split(',').next().unwrap_or("");
    let rest = operands.split_once(',').map_or("", |(_, rest)| rest);
    Some(match name {
        "unimp" => return None,
        // Reserved, though it is disassembled.
        "addi16sp" if rest == "0" => return None,
        "nop" => {
            let immediate = if operands.is_empty() { "0" } else { operands };
            format!("addi\tx0,x0,{immediate}")
        }
        "li" => format!("addi\t{first},x0,{rest}"),
        "mv" => format!("add\t{first},x0,{rest}"),
        "addi4spn" => format!("addi\t{operands}"),
        "addi16sp" => format!("addi\tx2,x2,{rest}"),
        "jr" => format!("jalr\tx0,0({first})"),
        "jalr" => format!("jalr\tx1,0({first})"),
        "j" => format!("jal\tx0,{operands}"),
        "beqz" => format!("beq\t{first},x0,{rest}"),
        "bnez" => format!("bne\t{first},x0,{rest}"),
        "ebreak" => "ebreak".to_owned(),
        "lui" => format!("lui\t{operands}"),
        "lwsp" | "ldsp" | "fldsp" | "swsp" | "sdsp" | "fsdsp" => {
            format!("{}\t{operands}", name.trim_end_matches("sp"))
        }
        "lw" | "ld" | "fld" | "sw" | "sd" | "fsd" => format!("{name}\t{operands}"),
        "slli64" | "srli64" | "srai64" => {
            format!("{}\t{first},{first},0x0", name.trim_end_matches("64"))
        }
        _ => format!("{name}\t{first},{first},{rest}"),
    })
}

/// All 49,152 parcels. Each stands alone at a multiple of 4 bytes, before C.NOP; its expansion at the same
/// address, so that targets print alike. Skipped, with a line, where the disassembler is not installed.
#[test]
fn every_parcel_expands_as_the_disassembler_reads_it() {
    let parcels: Vec<u16> = (0..=u16::MAX).filter(|parcel| parcel & 3 != 3).collect();
    let short: Vec<u8> = parcels
        .iter()
        .flat_map(|&parcel| (u32::from(parcel) | 0x0001_0000).to_le_bytes())
        .collect();
    let long: Vec<u8> = parcels
        .iter()
        .flat_map(|&parcel| expand(parcel).unwrap_or(0x13).to_le_bytes())
        .collect();
    let (Some(short), Some(long)) = (disassemble(&short, "short"), disassemble(&long, "long"))
    else {
        println!("skipped: riscv64-linux-gnu-objdump is not installed");
        return;
    };
    for (i, &parcel) in parcels.iter().enumerate() {
        let address = 4 * i as u64;
        let read = long_form(&short[&address]);
        let expanded = expand(parcel).map(|_| long[&address].clone());
        assert_eq!(expanded, read, "{parcel:#06x}: {}", short[&address]);
    }
}
