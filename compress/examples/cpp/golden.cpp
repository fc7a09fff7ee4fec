// Asks every model of a bundle for its golden samples and compares the answers with those recorded where the bundle was built, as
// `python run.py verify` does: `golden FOLDER`. Nothing but ONNX Runtime's C API and the C++17 library is needed.
//
// The samples lie in examples/cpp/golden as plain little-endian numbers, and index.txt says what they are, a line each:
//     array NAME TYPE COUNT SIZES...   of NAME.bin, an input of the models or what one of them answered
//     model FILE ANSWERS TOLERANCE     the largest difference allowed, as a share of the largest answer
//
// Exit codes: 0 all answers are as recorded, 1 something cannot be read or run, 7 other answers. Hashes are not checked: run.py does that.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "onnxruntime_c_api.h"

namespace {

namespace fs = std::filesystem;

const OrtApi* ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);  // null where the library is older than the header

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

struct Array {  // (N, ...)
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;
  std::vector<char> bytes;
};

struct Model {
  std::string file, answers;
  double tolerance;
};

struct Golden {
  std::map<std::string, Array> arrays;
  std::vector<Model> models;
};

const std::map<std::string, ONNXTensorElementDataType> kTypes = {
    {"uint8", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8}, {"int16", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16},
    {"int32", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32}, {"int64", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
    {"float32", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
};

void Check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = ort->GetErrorMessage(status);
  ort->ReleaseStatus(status);
  throw std::runtime_error(message);
}

Golden ReadGolden(const fs::path& folder) {
  std::ifstream index(folder / "index.txt");
  if (!index) throw std::runtime_error((folder / "index.txt").string() + ": cannot be read");
  Golden golden;
  for (std::string line; std::getline(index, line);) {
    std::istringstream words(line);
    std::string kind, name, type;
    words >> kind >> name;
    if (kind == "model") {
      Model model{name, "", 0};
      words >> model.answers >> model.tolerance;
      golden.models.push_back(model);
      continue;
    }
    words >> type;
    std::ifstream file(folder / (name + ".bin"), std::ios::binary);
    if (!file) throw std::runtime_error((folder / (name + ".bin")).string() + ": cannot be read");
    golden.arrays[name] = {kTypes.at(type),
                           {std::istream_iterator<int64_t>(words), std::istream_iterator<int64_t>()},
                           {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()}};
  }
  return golden;
}

Owned<OrtValue> MakeTensor(Array& array, const OrtMemoryInfo* memory) {  // over the array's own bytes, whose count is checked
  OrtValue* tensor = nullptr;
  Check(ort->CreateTensorWithDataAsOrtValue(memory, array.bytes.data(), array.bytes.size(), array.shape.data(), array.shape.size(),
                                            array.type, &tensor));
  return {tensor, ort->ReleaseValue};
}

std::vector<float> Answer(OrtEnv* env, const fs::path& file, std::map<std::string, Array>& arrays) {  // logits (N, K), row by row
  OrtSessionOptions* options = nullptr;
  Check(ort->CreateSessionOptions(&options));
  const Owned<OrtSessionOptions> held_options(options, ort->ReleaseSessionOptions);
  Check(ort->SetIntraOpNumThreads(options, 1));
  OrtSession* session = nullptr;
  Check(ort->CreateSession(env, file.c_str(), options, &session));
  const Owned<OrtSession> held_session(session, ort->ReleaseSession);
  OrtMemoryInfo* memory = nullptr;
  Check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  const Owned<OrtMemoryInfo> held_memory(memory, ort->ReleaseMemoryInfo);
  OrtAllocator* allocator = nullptr;  // the runtime's own
  Check(ort->GetAllocatorWithDefaultOptions(&allocator));

  size_t count = 0;
  Check(ort->SessionGetInputCount(session, &count));
  std::vector<std::string> names;
  std::vector<Owned<OrtValue>> tensors;
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    Check(ort->SessionGetInputName(session, i, allocator, &name));
    names.emplace_back(name);
    Check(ort->AllocatorFree(allocator, name));
    tensors.push_back(MakeTensor(arrays.at(names.back()), memory));
  }
  std::vector<const char*> asked;
  std::vector<const OrtValue*> given;
  for (size_t i = 0; i < count; ++i) {
    asked.push_back(names[i].c_str());
    given.push_back(tensors[i].get());
  }
  const char* const wanted[] = {"logits"};
  OrtValue* output = nullptr;
  Check(ort->Run(session, nullptr, asked.data(), given.data(), count, wanted, 1, &output));
  const Owned<OrtValue> held_output(output, ort->ReleaseValue);

  OrtTensorTypeAndShapeInfo* info = nullptr;
  Check(ort->GetTensorTypeAndShape(output, &info));
  const Owned<OrtTensorTypeAndShapeInfo> held_info(info, ort->ReleaseTensorTypeAndShapeInfo);
  size_t numbers = 0;
  Check(ort->GetTensorShapeElementCount(info, &numbers));
  void* data = nullptr;
  Check(ort->GetTensorMutableData(output, &data));
  return {static_cast<float*>(data), static_cast<float*>(data) + numbers};
}

// max |actual - expected| / max |expected|; infinite where the counts differ or a number is not finite
double Difference(const std::vector<float>& actual, const Array& recorded) {
  const size_t count = recorded.bytes.size() / sizeof(float);
  if (actual.size() != count) return INFINITY;
  const float* expected = reinterpret_cast<const float*>(recorded.bytes.data());
  double furthest = 0, largest = 1e-12;
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(actual[i])) return INFINITY;
    furthest = std::max(furthest, std::fabs(double{actual[i]} - expected[i]));
    largest = std::max(largest, std::fabs(double{expected[i]}));
  }
  return furthest / largest;
}

int Verify(const fs::path& bundle) {
  if (ort == nullptr) throw std::runtime_error("this ONNX Runtime is older than 1." + std::to_string(ORT_API_VERSION));
  Golden golden = ReadGolden(bundle / "examples" / "cpp" / "golden");
  if (golden.models.empty()) throw std::runtime_error("index.txt names no model");
  OrtEnv* env = nullptr;
  Check(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "golden", &env));
  const Owned<OrtEnv> held_env(env, ort->ReleaseEnv);
  bool same = true;
  for (const Model& model : golden.models) {
    const Array& recorded = golden.arrays.at(model.answers);
    const double difference = Difference(Answer(env, bundle / model.file, golden.arrays), recorded);
    const bool right = difference <= model.tolerance;
    same = same && right;
    std::cout << (right ? "ok    " : "WRONG ") << model.file << ": " << recorded.shape.at(0) << " samples, logits differ by " << difference
              << " of their largest magnitude (at most " << model.tolerance << ")\n";
  }
  return same ? 0 : 7;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return Verify(count > 1 ? arguments[1] : ".");
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
